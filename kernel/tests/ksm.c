// SPDX-License-Identifier: GPL-2.0
/* KSM, which merges equal pages: before a move, and of a view. */
#include <string.h>
#include <sys/mman.h>

#include "kz_test.h"

#define COUNT 32
#define LENGTH (COUNT * PAGE)

#define KSM "/sys/kernel/mm/ksm/"

/* Lets KSM look at everything at least twice, which it needs to find two pages equal. */
static void let_merge(void)
{
	long long scans;

	if (write_text(KSM "pages_to_scan", "10000"))
		kz_skip("the kernel has no KSM");
	CHECK_OK(write_text(KSM "sleep_millisecs", "1"));
	scans = read_number(KSM "full_scans");
	CHECK_OK(write_text(KSM "run", "1"));
	CHECK_SOON(read_number(KSM "full_scans") > scans + 3);
	CHECK_OK(write_text(KSM "run", "0"));
}

static size_t distinct_frames(const char *memory)
{
	uint64_t *frames = frames_of(memory, COUNT);
	size_t i, j, distinct = 0;

	for (i = 0; i < COUNT; i++) {
		for (j = 0; j < i && frames[j] != frames[i]; j++)
			;
		distinct += j == i;
	}
	return distinct;
}

static void fill_with(char *memory, size_t length, unsigned char first)
{
	size_t i;

	for (i = 0; i < length / PAGE; i++)
		memset(memory + i * PAGE, first + (int)(i % 2), PAGE);
}

static bool holds(const char *memory, size_t length, unsigned char first)
{
	size_t i;

	for (i = 0; i < length; i++)
		if ((unsigned char)memory[i] != first + i / PAGE % 2)
			return false;
	return true;
}

/* Merged pages are others' as well: each gets its copy. */
static void merged_before(void)
{
	char *memory = map_pages(LENGTH), *map;
	int fd = CHECK_OK(kz_create());
	struct kz_move account;

	fill_with(memory, LENGTH, 5);
	CHECK_OK(madvise(memory, LENGTH, MADV_MERGEABLE));
	let_merge();
	CHECK_EQ(distinct_frames(memory), 2);
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, &account), 0);
	CHECK_EQ(account.copied_pages, COUNT);
	CHECK_EQ(account.moved_pages, 0);
	map = map_file(fd, 0, LENGTH);
	CHECK_EQ(distinct_frames(map), COUNT);
	memset(memory, 0, LENGTH);
	CHECK(holds(map, LENGTH, 5));
}

/* Of a view only what its owner has written to is merged; the file's pages are left alone. */
static void merging_a_view(void)
{
	char *memory = map_pages(LENGTH), *map;
	int fd = CHECK_OK(kz_create());
	uint64_t *frames;
	struct kz_extent extent;

	fill_with(memory, LENGTH, 5);
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
	map = map_file(fd, 0, LENGTH);
	frames = frames_of(map, COUNT);
	fill_with(memory, LENGTH / 2, 11);
	CHECK_OK(madvise(memory, LENGTH, MADV_MERGEABLE));
	let_merge();
	CHECK_EQ(distinct_frames(memory), 2 + COUNT / 2);
	CHECK_EQ(same_frames(map, COUNT, frames), COUNT);
	CHECK_EQ(same_frames(memory + LENGTH / 2, COUNT / 2, frames + COUNT / 2), COUNT / 2);
	CHECK(holds(memory, LENGTH / 2, 11));
	CHECK(holds(map, LENGTH, 5));
	extent = (struct kz_extent){ .addr = (uintptr_t)memory, .length = LENGTH };
	CHECK_EQ(kz_query(&extent, 1), 1);
	CHECK_EQ(extent.length, LENGTH);
	CHECK_EQ(extent.changed_pages, COUNT / 2);
}

static const struct kz_case cases[] = {
	{ "merged_before", merged_before },
	{ "merging_a_view", merging_a_view },
};

KZ_MAIN(cases)
