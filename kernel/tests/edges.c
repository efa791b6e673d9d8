// SPDX-License-Identifier: GPL-2.0
/* KZ_MOVE_EDGES: ranges that begin and end at any byte never show a byte beside them. */
#include <sys/mman.h>

#include "kz_test.h"

/* All bytes of the file are the range's, or zeros. */
static void check_file(int fd, long long offset, size_t length, size_t place)
{
	size_t first = (size_t)offset / PAGE * PAGE;
	size_t end = ((size_t)offset + length + PAGE - 1) / PAGE * PAGE;
	const char *map = map_file(fd, (off_t)first, end - first);
	size_t head = (size_t)offset - first;

	CHECK_EQ(not_zero(map, head), 0);
	CHECK_EQ(differing(map + head, length, 1, place), 0);
	CHECK_EQ(not_zero(map + head + length, end - first - head - length), 0);
	CHECK_OK(munmap((void *)map, end - first));
}

/* Moves bytes [begin, end) of @size filled ones. */
static void move_bytes(char *memory, size_t size, size_t begin, size_t end, unsigned int flags)
{
	size_t first = (begin + PAGE - 1) / PAGE, last = end / PAGE;
	size_t whole = last > first ? last - first : 0;
	size_t touched = (end + PAGE - 1) / PAGE - begin / PAGE, i;
	uint64_t *frames = frames_of(memory, size / PAGE);
	struct kz_move account;
	long long offset;
	int fd = CHECK_OK(kz_create());

	offset = CHECK_OK(kz_move_one(fd, flags | KZ_MOVE_EDGES, memory + begin, end - begin,
				      &account));
	CHECK_EQ((size_t)offset % PAGE, begin % PAGE);
	CHECK_EQ(account.moved_pages, whole);
	CHECK_EQ(account.copied_pages, touched - whole);
	check_file(fd, offset, end - begin, begin);
	for (i = 0; i < size / PAGE; i++) {
		bool moved = i >= first && i < first + whole;

		CHECK_EQ(is_mapped(memory + i * PAGE), !moved || !(flags & KZ_MOVE_UNMAP));
		if (moved && flags & KZ_MOVE_UNMAP)
			continue;
		if (moved && flags & KZ_MOVE_DISCARD) {
			CHECK_EQ(not_zero(memory + i * PAGE, PAGE), 0);
			continue;
		}
		CHECK_EQ(differing(memory + i * PAGE, PAGE, 1, i * PAGE), 0);
		CHECK_EQ(frame_of(memory + i * PAGE), frames[i]);
	}
}

static const struct {
	size_t begin, end;
} kz_bytes[] = {
	{ 100, 200 },			/* inside of a page */
	{ 0, 1 },
	{ PAGE - 1, PAGE + 1 },		/* of two pages, none of them whole */
	{ PAGE - 1, 2 * PAGE },		/* a byte and a whole one */
	{ PAGE, 2 * PAGE + 1 },
	{ 1, 5 * PAGE - 1 },
	{ 2 * PAGE, 4 * PAGE },		/* nothing but whole ones */
	{ 2 * PAGE + 64, 6 * PAGE },
};

static void every_kind_of_edge(unsigned int flags)
{
	size_t size = 6 * PAGE, i;

	for (i = 0; i < ARRAY_SIZE(kz_bytes); i++) {
		char *memory = map_pages(size);

		fill(memory, size, 1);
		move_bytes(memory, size, kz_bytes[i].begin, kz_bytes[i].end, flags);
	}
}

static void kept(void)
{
	every_kind_of_edge(0);
}

static void given_up(void)
{
	every_kind_of_edge(KZ_MOVE_UNMAP);
}

static void discarded(void)
{
	every_kind_of_edge(KZ_MOVE_DISCARD);
}

static void of_huge_pages(void)
{
	size_t size = 3 * HUGE;
	char *memory = map_huge(size);
	struct kz_move account;
	long long offset;
	int fd = CHECK_OK(kz_create());

	fill(memory, size, 1);
	offset = CHECK_OK(kz_move_one(fd, KZ_MOVE_EDGES, memory + 1000, size - 2000, &account));
	CHECK_EQ(((uintptr_t)memory + 1000 - (uintptr_t)offset) % HUGE, 0);
	CHECK_EQ(account.huge_pages, 512);
	check_file(fd, offset, size - 2000, 1000);
	CHECK_EQ(differing(memory, size, 1, 0), 0);
}

/* Two ranges with bytes in one page: each has only its own there. */
static void page_of_two_ranges(void)
{
	char *memory = map_pages(4 * PAGE);
	size_t middle = 2 * PAGE + 1234;
	struct kz_range ranges[] = {
		range_of(memory + 10, middle - 10),
		range_of(memory + middle, 4 * PAGE - middle),
	};
	struct kz_move account;
	int fd = CHECK_OK(kz_create());

	fill(memory, 4 * PAGE, 1);
	CHECK_OK(kz_move(fd, KZ_MOVE_EDGES | KZ_MOVE_UNMAP, ranges, 2, &account));
	CHECK_EQ(account.moved_pages, 2);
	CHECK_EQ(account.copied_pages, 3);
	check_file(fd, (long long)ranges[0].offset, middle - 10, 10);
	check_file(fd, (long long)ranges[1].offset, 4 * PAGE - middle, middle);
	CHECK(is_mapped(memory + 2 * PAGE));
	CHECK_EQ(differing(memory + 2 * PAGE, PAGE, 1, 2 * PAGE), 0);
}

static void random_bytes(void)
{
	uint64_t state = kz_options.seed;
	size_t size = 8 * PAGE;
	int i;

	for (i = 0; i < 50; i++) {
		char *memory = map_pages(size);
		size_t begin = kz_random(&state) % (size - 1);
		size_t end = begin + 1 + kz_random(&state) % (size - begin - 1);

		fill(memory, size, 1);
		move_bytes(memory, size, begin, end, kz_random(&state) % 2 ? KZ_MOVE_UNMAP : 0);
	}
}

static const struct kz_case cases[] = {
	{ "kept", kept },
	{ "given_up", given_up },
	{ "discarded", discarded },
	{ "of_huge_pages", of_huge_pages },
	{ "page_of_two_ranges", page_of_two_ranges },
	{ "random_bytes", random_bytes },
};

KZ_MAIN(cases)
