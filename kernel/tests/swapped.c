// SPDX-License-Identifier: GPL-2.0
/*
 * Swapped-out memory that moves without being read in, KZ_CAP_DIRECT_SWAP: the bytes are there
 * whatever becomes of the swap device, other processes, the memory's limits and calls that fail.
 */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <unistd.h>

#include "kz_group.h"
#include "kz_swap.h"

#define COUNT 2048
#define LENGTH (COUNT * PAGE)

/* One page of each place for a huge one is read in, and the kernel reads others with it. */
#define READ_IN ((long long)(LENGTH / HUGE))
#define READ_AHEAD (8 * READ_IN)

static void needs_direct_swap(void)
{
	if (!can(KZ_CAP_DIRECT_SWAP))
		kz_skip("swapped-out pages are read in");
}

/* What is swapped out and moves without being read in; else the case is skipped. */
static char *direct_memory(size_t length)
{
	needs_direct_swap();
	return swapped_memory(length);
}

static void check_file(int fd, size_t length)
{
	char *map = map_file(fd, 0, length);

	CHECK_EQ(file_differing(fd, 0, length, 1, 0), 0);
	CHECK_EQ(differing(map, length, 1, 0), 0);
	munmap(map, length);
}

/* How many of a file's pages are in memory. */
static size_t resident(int fd, size_t length)
{
	static unsigned char there[COUNT];
	char *map = map_file(fd, 0, length);
	size_t count = 0, i;

	CHECK_OK(mincore(map, length, there));
	for (i = 0; i < length / PAGE; i++)
		count += there[i] & 1;
	munmap(map, length);
	return count;
}

static long long counter(const char *name)
{
	return read_field("/sys/module/kernelzero/parameters/counters", name);
}

/* Moves what is out in a way, and looks that it's out still. */
static int move_out(char *memory, size_t length, unsigned int flags)
{
	long long used = used_swap(), counted = counter("swapped");
	int fd = (int)CHECK_OK(kz_create());
	struct kz_move account;
	struct stat status;

	CHECK_EQ(kz_move_one(fd, flags, memory, length, &account), 0);
	CHECK_EQ(account.moved_pages + account.copied_pages, length / PAGE);
	CHECK(account.copied_pages <= length / HUGE);
	CHECK(counter("swapped") - counted >= (long long)account.moved_pages - READ_AHEAD);
	CHECK(used_swap() >= used - READ_AHEAD * 4 - SWAP_SLACK);
	CHECK((long long)resident(fd, length) <= READ_AHEAD);
	CHECK_OK(fstat(fd, &status));
	CHECK_EQ(status.st_blocks * 512, length);
	return fd;
}

static void stays_out(void)
{
	long long used = used_swap(), copied = counter("copied_swapped");
	char *memory = direct_memory(LENGTH);
	int fd = move_out(memory, LENGTH, 0);

	/* Wherever a huge page could be there's one that keeps it away. */
	CHECK_EQ(counter("copied_swapped") - copied, READ_IN);
	CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
	check_file(fd, LENGTH);
	/* The slots are free again. */
	CHECK_SOON(used_swap() <= used + SWAP_SLACK);
}

static void given_up(void)
{
	char *memory = direct_memory(LENGTH);
	int fd = move_out(memory, LENGTH, KZ_MOVE_UNMAP);

	CHECK(!is_mapped(memory));
	check_file(fd, LENGTH);
}

static void discarded(void)
{
	char *memory = direct_memory(LENGTH);
	int fd = move_out(memory, LENGTH, KZ_MOVE_DISCARD);

	CHECK_EQ(not_zero(memory, LENGTH), 0);
	fill(memory, LENGTH, 2);
	check_file(fd, LENGTH);
}

/* Nobody reads the file: its slots go with it. */
static void freed_unread(void)
{
	long long used = used_swap();
	char *memory = direct_memory(LENGTH);
	int fd = move_out(memory, LENGTH, KZ_MOVE_UNMAP);

	CHECK(used_swap() > used + SWAP_SLACK);
	close(fd);
	CHECK_SOON(used_swap() <= used + SWAP_SLACK);
}

static void in_pieces(void)
{
	char *memory = direct_memory(LENGTH);

	CHECK_OK(kz_set_parameter("piece_pages", HUGE / PAGE));
	check_file(move_out(memory, LENGTH, 0), LENGTH);
}

/* Any alignment; the edges' pages are read in. */
static void with_edges(void)
{
	char *memory = direct_memory(LENGTH);
	int fd = (int)CHECK_OK(kz_create());
	struct kz_move account;

	CHECK_EQ(kz_move_one(fd, KZ_MOVE_EDGES, memory + 5, LENGTH - 9, &account), 5);
	CHECK(account.copied_pages <= READ_IN + 2);
	CHECK_EQ(file_differing(fd, 5, LENGTH - 9, 1, 5), 0);
	CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
}

/* Some are in memory, by turns. */
static void half_of_them(void)
{
	char *memory = direct_memory(LENGTH);
	int fd = (int)CHECK_OK(kz_create());
	struct kz_move account;
	size_t page;

	for (page = 0; page < COUNT; page += 1 + page % 7)
		memory[page * PAGE] += 0;
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, &account), 0);
	CHECK(account.copied_pages <= READ_IN);
	CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
	check_file(fd, LENGTH);
}

/* Read ahead: in memory, but in no page table. */
static void in_the_swap_cache(void)
{
	char *memory = direct_memory(LENGTH);
	int fd = (int)CHECK_OK(kz_create());

	CHECK_OK(madvise(memory, LENGTH / 2, MADV_WILLNEED));
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
	CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
	check_file(fd, LENGTH);
}

/* Huge pages have gone out as a whole: some of them are still in the swap cache. */
static void huge_pages(void)
{
	char *memory = map_huge(LENGTH);
	int fd = (int)CHECK_OK(kz_create());
	size_t at;

	needs_direct_swap();
	swap_device();
	fill(memory, LENGTH, 1);
	CHECK_OK(madvise(memory, LENGTH, MADV_PAGEOUT));
	for (at = 0; at < LENGTH; at += 2 * HUGE)
		memory[at + PAGE] += 0;
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
	CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
	check_file(fd, LENGTH);
}

/* What can't go where it should is read in and copied. */
static void all_copied(void)
{
	char *memory = direct_memory(HUGE);
	int fd = (int)CHECK_OK(kz_create());
	struct kz_move account;

	CHECK_OK(kz_set_parameter("force_copy", 1));
	CHECK_EQ(kz_move_one(fd, 0, memory, HUGE, &account), 0);
	CHECK_OK(kz_set_parameter("force_copy", 0));
	CHECK_EQ(account.copied_pages, HUGE / PAGE);
	CHECK_EQ(differing(memory, HUGE, 1, 0), 0);
	check_file(fd, HUGE);
}

/* By several at once: none has another's bytes. */
static void all_copied_at_once(void)
{
	pid_t children[4];
	size_t i;

	needs_direct_swap();
	swap_device();
	CHECK_OK(kz_set_parameter("force_copy", 1));
	for (i = 0; i < ARRAY_SIZE(children); i++) {
		char *memory;
		int fd;

		children[i] = kz_fork();
		if (children[i])
			continue;
		memory = map_pages(HUGE);
		fill(memory, HUGE, i + 1);
		CHECK_EQ(swap_out(memory, HUGE), HUGE / PAGE);
		fd = (int)CHECK_OK(kz_create());
		CHECK_EQ(kz_move_one(fd, 0, memory, HUGE, NULL), 0);
		CHECK_EQ(file_differing(fd, 0, HUGE, i + 1, 0), 0);
		_exit(0);
	}
	for (i = 0; i < ARRAY_SIZE(children); i++)
		reap(children[i]);
	CHECK_OK(kz_set_parameter("force_copy", 0));
}

/* The device is taken away, which has to find all that the file has there, and comes again. */
static void swapoff_after(void)
{
	const char *device = swap_device();
	char *memory = direct_memory(LENGTH);
	int fd = move_out(memory, LENGTH, KZ_MOVE_UNMAP);

	CHECK_OK(swapoff(device));
	CHECK_EQ(resident(fd, LENGTH), COUNT);
	check_file(fd, LENGTH);
	CHECK_OK(swapon(device, 0));
}

/* The same of a file that has been taken off swapoff's list, and of one that was never on it. */
static void swapoff_again(void)
{
	const char *device = swap_device();
	char *memory = direct_memory(HUGE), *more;
	int fd = move_out(memory, HUGE, KZ_MOVE_UNMAP), other;

	CHECK_OK(swapoff(device));
	CHECK_OK(swapon(device, 0));
	more = direct_memory(HUGE);
	CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, more, HUGE, NULL), HUGE);
	other = move_out(direct_memory(HUGE), HUGE, 0);
	CHECK_OK(swapoff(device));
	check_file(fd, HUGE);
	CHECK_EQ(file_differing(fd, HUGE, HUGE, 1, 0), 0);
	check_file(other, HUGE);
	CHECK_OK(swapon(device, 0));
}

/* The entries are a child's as well: read in, and copied. */
static void forked_before(void)
{
	char *memory = direct_memory(LENGTH);
	int fd = (int)CHECK_OK(kz_create());
	struct kz_sharer sharer = share_with_child(memory, LENGTH);
	long long counted = counter("swapped");

	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
	CHECK_EQ(counter("swapped"), counted);
	check_file(fd, LENGTH);
	memset(memory, 0, LENGTH);
	let_look(sharer);
	check_file(fd, LENGTH);
}

/* A child has the view, and its own of what either of them changes. */
static void forked_after(void)
{
	char *memory = direct_memory(LENGTH);
	int fd = move_out(memory, LENGTH, 0);
	struct kz_sharer sharer = share_with_child(memory, LENGTH);

	memset(memory, 0, LENGTH);
	let_look(sharer);
	CHECK_EQ(not_zero(memory, LENGTH), 0);
	check_file(fd, LENGTH);
}

/* Swap stays the group's, also when its last process is gone; and so is what a stranger reads in. */
static void charged_as_before(void)
{
	struct kz_group group = new_group("swapped");
	int sockets[2], fd;
	pid_t owner;

	needs_direct_swap();
	swap_device();
	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	owner = kz_fork();
	if (!owner) {
		size_t swap;
		char *memory;

		enter_group(&group);
		memory = direct_memory(LENGTH);
		swap = group_swap(&group);
		CHECK(swap >= LENGTH - GROUP_SLACK);
		fd = move_out(memory, LENGTH, KZ_MOVE_UNMAP);
		CHECK(group_swap(&group) >= swap - READ_AHEAD * PAGE);
		CHECK(group_swap(&group) <= swap + GROUP_SLACK);
		send_fd(sockets[1], fd);
		_exit(0);
	}
	close(sockets[1]);
	fd = receive_fd(sockets[0]);
	reap(owner);
	CHECK(group_swap(&group) >= LENGTH - GROUP_SLACK);
	CHECK(group_charge(&group) < LENGTH / 2);
	check_file(fd, LENGTH);
	CHECK_SOON(group_swap(&group) < GROUP_SLACK);
	CHECK(group_shmem(&group) >= LENGTH - GROUP_SLACK);
	close(fd);
	CHECK_SOON(group_charge(&group) < GROUP_SLACK);
	remove_group(&group);
}

/* A single piece with twice as much as the group may have in memory. */
static void over_the_limit(void)
{
	struct kz_group group = new_group("pressed");
	pid_t owner;

	needs_direct_swap();
	swap_device();
	owner = kz_fork();
	if (!owner) {
		int fd = (int)CHECK_OK(kz_create());
		struct kz_move account;
		char *memory;

		limit_group(&group, LENGTH);
		enter_group(&group);
		memory = direct_memory(2 * LENGTH);
		CHECK_EQ(kz_move_one(fd, 0, memory, 2 * LENGTH, &account), 0);
		CHECK_EQ(account.moved_pages + account.copied_pages, 2 * COUNT);
		CHECK_EQ(file_differing(fd, 0, 2 * LENGTH, 1, 0), 0);
		CHECK_EQ(differing(memory, 2 * LENGTH, 1, 0), 0);
		_exit(0);
	}
	reap(owner);
	CHECK_SOON(group_swap(&group) < GROUP_SLACK);
	remove_group(&group);
}

/* The group may have no more in swap: the file can't be listed, and so all is read in. */
static void no_more_swap(void)
{
	const char *device = swap_device();
	struct kz_group group = new_group("full");
	pid_t owner;

	needs_direct_swap();
	if (!groups_have_version_2())
		kz_skip("needs memory cgroups of version 2");
	owner = kz_fork();
	if (!owner) {
		long long counted = counter("swapped");
		char *memory;
		int fd;

		enter_group(&group);
		memory = direct_memory(LENGTH);
		limit_group_swap(&group, PAGE);
		fd = (int)CHECK_OK(kz_create());
		CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
		CHECK_EQ(counter("swapped"), counted);
		CHECK_EQ(resident(fd, LENGTH), COUNT);
		check_file(fd, LENGTH);
		CHECK_OK(swapoff(device));
		CHECK_OK(swapon(device, 0));
		check_file(fd, LENGTH);
		_exit(0);
	}
	reap(owner);
	remove_group(&group);
}

/*
 * Each step fails, one after the other: then pages before it have moved, the others are as they
 * were, and in the end no slot is left.
 */
static void each_step_fails(void)
{
	long long used = used_swap();
	bool done = false;
	long step;

	needs_direct_swap();
	CHECK_OK(kz_set_parameter("piece_pages", HUGE / PAGE));
	for (step = 1; !done; step++) {
		char *memory = direct_memory(2 * HUGE);
		int fd = (int)CHECK_OK(kz_create());
		struct kz_range range = range_of(memory, 2 * HUGE);
		struct kz_move account;
		size_t moved;

		CHECK_OK(kz_set_parameter("fail_step", step));
		done = !kz_move(fd, 0, &range, 1, &account);
		CHECK(done || errno == ENOMEM);
		moved = account.done ? range.length : account.partial_bytes;
		CHECK(is_swapped(memory + 2 * HUGE - PAGE) == !account.done);
		CHECK_EQ(file_differing(fd, 0, moved, 1, 0), 0);
		CHECK_EQ(differing(memory, 2 * HUGE, 1, 0), 0);
		CHECK_OK(munmap(memory, 2 * HUGE));
		close(fd);
	}
	CHECK_OK(kz_set_parameter("fail_step", 0));
	/* A call's own, and of each piece: entries, list or view, pins, room, size. */
	CHECK(step > 10);
	CHECK_SOON(used_swap() <= used + SWAP_SLACK);
}

static void *reads_all(void *memory)
{
	return (void *)differing(memory, LENGTH, 1, 0);
}

/* A thread that looks at the memory while it moves sees what was there. */
static void read_meanwhile(void)
{
	int i;

	for (i = 0; i < 20; i++) {
		char *memory = direct_memory(LENGTH);
		int fd = (int)CHECK_OK(kz_create());
		pthread_t reader;
		void *differ;

		CHECK_EQ(pthread_create(&reader, NULL, reads_all, memory), 0);
		kz_sleep_ms(i);
		CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
		CHECK_EQ(pthread_join(reader, &differ), 0);
		CHECK_EQ((size_t)differ, 0);
		check_file(fd, LENGTH);
		CHECK_OK(munmap(memory, LENGTH));
		close(fd);
	}
}

static const struct kz_case cases[] = {
	{ "stays_out", stays_out },
	{ "given_up", given_up },
	{ "discarded", discarded },
	{ "freed_unread", freed_unread },
	{ "in_pieces", in_pieces },
	{ "with_edges", with_edges },
	{ "half_of_them", half_of_them },
	{ "in_the_swap_cache", in_the_swap_cache },
	{ "huge_pages", huge_pages },
	{ "all_copied", all_copied },
	{ "all_copied_at_once", all_copied_at_once },
	{ "swapoff_after", swapoff_after },
	{ "swapoff_again", swapoff_again },
	{ "forked_before", forked_before },
	{ "forked_after", forked_after },
	{ "charged_as_before", charged_as_before },
	{ "over_the_limit", over_the_limit },
	{ "no_more_swap", no_more_swap },
	{ "each_step_fails", each_step_fails },
	{ "read_meanwhile", read_meanwhile },
};

KZ_MAIN(cases)
