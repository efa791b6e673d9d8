// SPDX-License-Identifier: GPL-2.0
/*
 * Large folios of sizes between a page and a huge one, where the kernel makes such of anonymous
 * memory (mTHP): with KERNEL_OPTIONS='thp_anon=16K-1M:always;2M:inherit', see test.sh.
 */
#include <linux/kernel-page-flags.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kz_swap.h"

#define MOST 8

struct sizes {
	size_t bytes[MOST];
	size_t count;
};

/* Of which bytes the kernel makes folios of its own accord; huge ones aside. */
static struct sizes sizes_given(void)
{
	struct sizes sizes = {};
	size_t bytes;

	for (bytes = 4 * PAGE; bytes < HUGE; bytes *= 2) {
		char path[128], text[64] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/sys/kernel/mm/transparent_hugepage/hugepages-%zukB/enabled",
			 bytes / 1024);
		file = fopen(path, "re");
		if (!file)
			continue;
		if (fgets(text, sizeof(text), file) && strstr(text, "[always]"))
			sizes.bytes[sizes.count++] = bytes;
		fclose(file);
	}
	if (!sizes.count)
		kz_skip("the kernel makes no large folios but huge ones");
	return sizes;
}

/* Whether some memory is one folio. */
static bool is_folio(const char *memory, size_t length)
{
	size_t at;

	for (at = 0; at < length; at += PAGE) {
		uint64_t head = frame_flags(frame_of(memory + at)) & (1ULL << KPF_COMPOUND_HEAD);

		if (!is_huge(memory + at) || !head != !!at)
			return false;
	}
	return true;
}

/* Memory that is one folio, filled with seed 1. */
static char *map_folio(size_t length)
{
	char *memory = map_aligned(length, length);

	fill(memory, length, 1);
	CHECK(is_folio(memory, length));
	return memory;
}

static void moved(size_t length, unsigned int flags)
{
	char *memory = map_folio(length), *page = map_pages(PAGE), *map;
	uint64_t *frames = frames_of(memory, length / PAGE);
	int fd = CHECK_OK(kz_create());
	struct kz_move account;
	long long offset;

	*page = 1;
	CHECK_EQ(kz_move_one(fd, flags, page, PAGE, NULL), 0);
	offset = CHECK_OK(kz_move_one(fd, flags, memory, length, &account));
	CHECK_EQ(offset, length); /* so that it lies in the file as it can in memory */
	CHECK_EQ(account.moved_pages, length / PAGE);
	CHECK_EQ(account.huge_pages, length / PAGE);
	map = map_file(fd, offset, length);
	CHECK(is_folio(map, length));
	CHECK_EQ(same_frames(map, length / PAGE, frames), length / PAGE);
	CHECK_EQ(differing(map, length, 1, 0), 0);
	if (!flags)
		CHECK_EQ(differing(memory, length, 1, 0), 0);
	if (flags & KZ_MOVE_DISCARD)
		CHECK_EQ(not_zero(memory, length), 0);
}

static void whole(void)
{
	static const unsigned int ways[] = { 0, KZ_MOVE_UNMAP, KZ_MOVE_DISCARD };
	struct sizes sizes = sizes_given();
	size_t i, way;

	for (i = 0; i < sizes.count; i++)
		for (way = 0; way < ARRAY_SIZE(ways); way++)
			moved(sizes.bytes[i], ways[way]);
}

/* All but the first page move, and what is left can be used. */
static void parts(void)
{
	struct sizes sizes = sizes_given();
	size_t i;

	for (i = 0; i < sizes.count; i++) {
		size_t length = sizes.bytes[i], rest = length - PAGE;
		char *memory = map_folio(length);
		int fd = CHECK_OK(kz_create());
		struct kz_move account;

		CHECK_EQ(kz_move_one(fd, 0, memory + PAGE, rest, &account), 0);
		CHECK_EQ(account.moved_pages, rest / PAGE);
		CHECK_EQ(account.huge_pages, 0);
		CHECK_EQ(file_differing(fd, 0, rest, 1, PAGE), 0);
		memset(memory, 2, PAGE);
		CHECK_EQ(differing(memory + PAGE, rest, 1, PAGE), 0);
		CHECK_EQ(file_differing(fd, 0, rest, 1, PAGE), 0);
	}
}

/* Of all sizes in one call, the largest first and last. */
static void together(void)
{
	struct sizes sizes = sizes_given();
	size_t count = 2 * sizes.count, pages = 0, i;
	struct kz_range ranges[2 * MOST];
	int fd = CHECK_OK(kz_create());
	struct kz_move account;

	for (i = 0; i < count; i++) {
		size_t length = sizes.bytes[i < sizes.count ? sizes.count - 1 - i : i - sizes.count];

		ranges[i] = range_of(map_folio(length), length);
		pages += length / PAGE;
	}
	CHECK_OK(kz_move(fd, KZ_MOVE_UNMAP, ranges, count, &account));
	CHECK_EQ(account.done, count);
	CHECK_EQ(account.huge_pages, pages);
	for (i = 0; i < count; i++) {
		size_t length = ranges[i].length;

		CHECK_EQ(ranges[i].offset % length, 0);
		CHECK(is_folio(map_file(fd, ranges[i].offset, length), length));
		CHECK_EQ(file_differing(fd, ranges[i].offset, length, 1, 0), 0);
	}
}

/* They go to swap, and come back, as a whole; or move from there page by page. */
static void swapped_out(void)
{
	struct sizes sizes = sizes_given();
	size_t i;

	swap_device();
	for (i = 0; i < sizes.count; i++) {
		size_t length = sizes.bytes[i];
		char *memory = map_folio(length);
		int fd = CHECK_OK(kz_create());

		CHECK_EQ(swap_out(memory, length), length / PAGE);
		if (i % 2) /* one page is in memory again, and perhaps others with it */
			CHECK_EQ(differing(memory + PAGE, PAGE, 1, PAGE), 0);
		CHECK_EQ(kz_move_one(fd, 0, memory, length, NULL), 0);
		CHECK_EQ(file_differing(fd, 0, length, 1, 0), 0);
		CHECK_EQ(differing(memory, length, 1, 0), 0);
	}
}

/* Writes a file's pages out that are mapped; whether they are gone from memory. */
static bool write_out(char *map, size_t length)
{
	unsigned char resident[HUGE / PAGE];

	CHECK_EQ(differing(map, length, 1, 0), 0);
	CHECK_OK(madvise(map, length, MADV_PAGEOUT));
	CHECK_OK(mincore(map, length, resident));
	return !memchr(resident, 1, length / PAGE);
}

/* A file's go to swap, whole ones as well, and come back. */
static void swapped_out_of_the_file(void)
{
	struct sizes sizes = sizes_given();
	size_t i;

	swap_device();
	for (i = 0; i < sizes.count; i++) {
		size_t length = sizes.bytes[i];
		char *memory = map_folio(length), *map;
		int fd = CHECK_OK(kz_create());

		CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, memory, length, NULL), 0);
		/* Where the folio lay: it must not have its entries in two page tables. */
		map = mmap(memory, length, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
		CHECK(map == memory);
		/* Not as long as a processor has it on its way to a list. */
		CHECK_SOON(write_out(map, length));
		CHECK_EQ(differing(map, length, 1, 0), 0);
		CHECK_EQ(file_differing(fd, 0, length, 1, 0), 0);
	}
}

static const struct kz_case cases[] = {
	{ "whole", whole },
	{ "parts", parts },
	{ "together", together },
	{ "swapped_out", swapped_out },
	{ "swapped_out_of_the_file", swapped_out_of_the_file },
};

KZ_MAIN(cases)
