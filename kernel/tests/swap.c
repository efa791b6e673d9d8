// SPDX-License-Identifier: GPL-2.0
/* Swap: of memory before it moves, and of files, which are swapped like any shmem. */
#include <string.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <unistd.h>

#include "kz_swap.h"

#define COUNT 1024
#define LENGTH (COUNT * PAGE)

static void check_everywhere(const char *memory, int fd, size_t length)
{
	CHECK_EQ(differing(memory, length, 1, 0), 0);
	CHECK_EQ(file_differing(fd, 0, length, 1, 0), 0);
	CHECK_EQ(differing(map_file(fd, 0, length), length, 1, 0), 0);
}

static void move_what_is_out(unsigned int flags)
{
	long long used = used_swap();
	char *memory = swapped_memory(LENGTH);
	int fd = CHECK_OK(kz_create());
	struct kz_move account;

	CHECK(used_swap() > used + SWAP_SLACK);
	CHECK_EQ(kz_move_one(fd, flags, memory, LENGTH, &account), 0);
	CHECK_EQ(account.moved_pages + account.copied_pages, COUNT);
	if (can(KZ_CAP_DIRECT_SWAP))
		CHECK(account.copied_pages <= LENGTH / HUGE);
	else if (can(KZ_CAP_SWAP_CACHE))
		CHECK_EQ(account.copied_pages, 0);
	if (!(flags & KZ_MOVE_UNMAP))
		CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
	CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
	/* The slots are free again. */
	CHECK_SOON(used_swap() <= used + SWAP_SLACK);
}

static void out_before(void)
{
	move_what_is_out(0);
}

static void out_before_given_up(void)
{
	move_what_is_out(KZ_MOVE_UNMAP);
}

static void huge_out_before(void)
{
	char *memory = map_huge(2 * HUGE);
	int fd = CHECK_OK(kz_create());
	struct kz_move account;

	fill_and_swap_out(memory, 2 * HUGE);
	CHECK_EQ(kz_move_one(fd, 0, memory, 2 * HUGE, &account), 0);
	CHECK_EQ(account.moved_pages + account.copied_pages, 1024);
	check_everywhere(memory, fd, 2 * HUGE);
}

/* Pages that are in memory and have their copy in swap still. */
static void with_a_copy_in_swap(void)
{
	char *memory = swapped_memory(LENGTH);
	int fd = CHECK_OK(kz_create());
	struct kz_move account;

	CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, &account), 0);
	if (can(KZ_CAP_SWAP_CACHE))
		CHECK_EQ(account.copied_pages, 0);
	check_everywhere(memory, fd, LENGTH);
}

/* Swapped-out pages that a child has as well: their slots are the child's too. */
static void out_and_a_childs(void)
{
	char *memory = swapped_memory(LENGTH);
	int fd = CHECK_OK(kz_create());
	struct kz_sharer sharer = share_with_child(memory, LENGTH);

	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
	check_everywhere(memory, fd, LENGTH);
	memset(memory, 0, LENGTH);
	let_look(sharer);
	CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
}

/* The file's pages go out and come back, in who has it mapped and in who reads it. */
static void file_out_after(void)
{
	char *memory = map_pages(LENGTH), *map;
	int fd = CHECK_OK(kz_create()), i;
	long long used;

	swap_device();
	fill(memory, LENGTH, 1);
	CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, memory, LENGTH, NULL), 0);
	map = map_file(fd, 0, LENGTH);
	for (i = 0; i < 3; i++) {
		CHECK_EQ(differing(map, LENGTH, 1, 0), 0);
		used = used_swap();
		CHECK_OK(madvise(map, LENGTH, MADV_PAGEOUT));
		CHECK_SOON(used_swap() > used + SWAP_SLACK);
		if (i)
			CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
	}
	close(fd);
	CHECK_EQ(differing(map, LENGTH, 1, 0), 0);
}

static void huge_file_out_after(void)
{
	char *memory = map_huge(2 * HUGE), *map;
	int fd = CHECK_OK(kz_create());
	long long used = used_swap();

	swap_device();
	fill(memory, 2 * HUGE, 1);
	CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, memory, 2 * HUGE, NULL), 0);
	/* Aligned it is mapped as huge pages, which reclaim splits. */
	map = mmap(memory, 2 * HUGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	CHECK(map == memory);
	CHECK_EQ(differing(map, 2 * HUGE, 1, 0), 0);
	CHECK_OK(madvise(map, 2 * HUGE, MADV_PAGEOUT));
	CHECK_SOON(used_swap() > used + SWAP_SLACK);
	CHECK(!is_huge(map));
	CHECK_EQ(differing(map, 2 * HUGE, 1, 0), 0);
	CHECK_EQ(file_differing(fd, 0, 2 * HUGE, 1, 0), 0);
}

/* The swap device is taken away while a file has pages in it. */
static void swapoff_with_files(void)
{
	const char *device = swap_device();
	char *memory = map_pages(LENGTH), *map;
	int fd = CHECK_OK(kz_create());
	long long used;

	fill(memory, LENGTH, 1);
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
	CHECK_OK(munmap(memory, LENGTH));
	map = map_file(fd, 0, LENGTH);
	CHECK_EQ(differing(map, LENGTH, 1, 0), 0);
	used = used_swap();
	CHECK_OK(madvise(map, LENGTH, MADV_PAGEOUT));
	CHECK_SOON(used_swap() > used);
	CHECK_OK(swapoff(device));
	CHECK_EQ(differing(map, LENGTH, 1, 0), 0);
	CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
	CHECK_OK(swapon(device, 0));
}

static const struct kz_case cases[] = {
	{ "out_before", out_before },
	{ "out_before_given_up", out_before_given_up },
	{ "huge_out_before", huge_out_before },
	{ "with_a_copy_in_swap", with_a_copy_in_swap },
	{ "out_and_a_childs", out_and_a_childs },
	{ "file_out_after", file_out_after },
	{ "huge_file_out_after", huge_file_out_after },
	{ "swapoff_with_files", swapoff_with_files },
};

KZ_MAIN(cases)
