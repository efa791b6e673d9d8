// SPDX-License-Identifier: GPL-2.0
/* Memory cgroups: who pays before, during and after a move, and what a limit does to files. */
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/swap.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kz_group.h"
#include "kz_swap.h"

#define LENGTH (16 * MIB)

/* Two processes take turns. */
static int kz_sockets[2];

static void tell(int end)
{
	CHECK_EQ(send(kz_sockets[end], "", 1, MSG_NOSIGNAL), 1);
}

static void await(int end)
{
	char byte;

	CHECK_EQ(recv(kz_sockets[end], &byte, 1, 0), 1);
}

#define CHECK_ABOUT(value, expected)					\
	do {								\
		size_t about_ = (value);				\
									\
		CHECK(about_ + GROUP_SLACK >= (size_t)(expected));	\
		CHECK(about_ <= (size_t)(expected) + GROUP_SLACK);	\
	} while (0)

/* In the group: fills memory, moves it, hands the file over, ends; each when it is told to. */
static pid_t start_owner(const struct kz_group *group, bool huge, unsigned int flags)
{
	pid_t owner;
	char *memory;
	size_t at;
	int fd;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, kz_sockets));
	owner = kz_fork();
	if (owner)
		return owner;
	enter_group(group);
	memory = huge ? map_huge(LENGTH) : map_pages(LENGTH);
	fill(memory, LENGTH, 1);
	fd = CHECK_OK(kz_create());
	tell(1);
	await(1);
	/* In pieces, so that there is something to see meanwhile. */
	for (at = 0; at < LENGTH; at += HUGE)
		CHECK_EQ(kz_move_one(fd, flags, memory + at, HUGE, NULL), at);
	send_fd(kz_sockets[1], fd);
	await(1);
	_exit(0);
}

/* @extra: what may be there twice meanwhile */
static void charge_stays(bool huge, unsigned int flags, size_t extra)
{
	struct kz_group group = new_group("stays");
	pid_t owner = start_owner(&group, huge, flags);
	int fd, samples;

	await(0);
	CHECK_ABOUT(group_charge(&group), LENGTH);
	CHECK_SOON(group_anonymous(&group) >= LENGTH);
	CHECK_EQ(group_shmem(&group), 0);
	tell(0);
	for (samples = 0; samples < 200; samples++) {
		size_t charge = group_charge(&group);

		CHECK_ABOUT(charge < LENGTH + extra ? charge : charge - extra, LENGTH);
	}
	fd = receive_fd(kz_sockets[0]);
	CHECK_ABOUT(group_charge(&group), LENGTH);
	CHECK_SOON(group_shmem(&group) == LENGTH);
	CHECK_SOON(group_anonymous(&group) < GROUP_SLACK);
	tell(0);
	reap(owner);
	/* The file has outlived its maker, and is the group's still. */
	CHECK_ABOUT(group_charge(&group), LENGTH);
	CHECK_SOON(group_shmem(&group) == LENGTH);
	CHECK_SOON(group_anonymous(&group) == 0);
	CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
	CHECK_ABOUT(group_charge(&group), LENGTH);
	close(fd);
	CHECK_SOON(group_charge(&group) < GROUP_SLACK);
	CHECK_SOON(group_shmem(&group) == 0);
	remove_group(&group);
}

static void pages(void)
{
	charge_stays(false, 0, 0);
}

static void pages_given_up(void)
{
	charge_stays(false, KZ_MOVE_UNMAP, 0);
}

static void huge(void)
{
	charge_stays(true, 0, 0);
}

/* Copies are charged as they come, and what they replace goes. */
static void copies(void)
{
	CHECK_OK(kz_set_parameter("force_copy", 1));
	charge_stays(false, KZ_MOVE_UNMAP, HUGE);
}

/* Memory that a process brought along stays its former group's. */
static void of_another_group(void)
{
	struct kz_group first = new_group("first"), second = new_group("second");
	pid_t owner = kz_fork();

	if (!owner) {
		char *memory = map_pages(LENGTH);
		int fd;

		enter_group(&first);
		fill(memory, LENGTH, 1);
		enter_group(&second);
		fd = CHECK_OK(kz_create());
		CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
		CHECK_ABOUT(group_charge(&first), LENGTH);
		CHECK_SOON(group_shmem(&first) == LENGTH);
		CHECK(group_charge(&second) < GROUP_SLACK);
		_exit(0);
	}
	reap(owner);
	CHECK_SOON(group_charge(&first) < GROUP_SLACK);
	remove_group(&first);
	remove_group(&second);
}

/* Pages of one range that are two groups', by turns: each stays whose it is. */
static void of_two_groups(void)
{
	struct kz_group first = new_group("first"), second = new_group("second");
	pid_t owner = kz_fork();

	if (!owner) {
		char *memory = map_pages(LENGTH);
		int fd = CHECK_OK(kz_create());
		size_t at;

		enter_group(&first);
		for (at = 0; at < LENGTH; at += 2 * PAGE)
			memory[at] = 1;
		enter_group(&second);
		for (at = PAGE; at < LENGTH; at += 2 * PAGE)
			memory[at] = 1;
		CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
		CHECK_SOON(group_shmem(&first) == LENGTH / 2);
		CHECK_SOON(group_shmem(&second) == LENGTH / 2);
		CHECK_SOON(group_anonymous(&second) < GROUP_SLACK);
		_exit(0);
	}
	reap(owner);
	CHECK_SOON(group_shmem(&first) == 0);
	CHECK_SOON(group_shmem(&second) == 0);
	remove_group(&first);
	remove_group(&second);
}

/* Who makes a copy of what a child has pays for it. */
static void of_a_child(void)
{
	struct kz_group first = new_group("first"), second = new_group("second");
	pid_t owner = kz_fork(), child;

	if (!owner) {
		char *memory = map_pages(LENGTH);
		int fd = CHECK_OK(kz_create());

		enter_group(&first);
		fill(memory, LENGTH, 1);
		child = kz_fork();
		if (!child) {
			pause();
			_exit(0);
		}
		enter_group(&second);
		CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, memory, LENGTH, NULL), 0);
		CHECK_ABOUT(group_charge(&first), LENGTH);
		CHECK_ABOUT(group_charge(&second), LENGTH);
		CHECK_SOON(group_shmem(&second) == LENGTH);
		CHECK_OK(kill(child, SIGKILL));
		CHECK_EQ(kz_wait(child), SIGKILL);
		_exit(0);
	}
	reap(owner);
	CHECK_SOON(group_charge(&first) < GROUP_SLACK);
	CHECK_SOON(group_charge(&second) < GROUP_SLACK);
	remove_group(&first);
	remove_group(&second);
}

/* More than the limit allows is swapped, memory and files, and nothing of it gets lost. */
static void swapping_under_a_limit(void)
{
	struct kz_group group = new_group("limit");
	pid_t owner = kz_fork();

	if (!owner) {
		char *memory = map_pages(LENGTH), *more = map_pages(LENGTH);
		int fd = CHECK_OK(kz_create());
		size_t at;

		limit_group(&group, LENGTH * 3 / 4);
		enter_group(&group);
		fill(memory, LENGTH, 1);
		CHECK(group_swap(&group) > 0);
		/* A piece is in memory as a whole while it moves, so they are small ones. */
		for (at = 0; at < LENGTH; at += MIB)
			CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, memory + at, MIB, NULL), at);
		CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
		fill(more, LENGTH, 2);
		CHECK_SOON(group_swap(&group) > LENGTH);
		CHECK(group_charge(&group) <= LENGTH * 3 / 4);
		CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
		CHECK_EQ(differing(more, LENGTH, 2, 0), 0);
		_exit(0);
	}
	reap(owner);
	CHECK_SOON(group_charge(&group) < GROUP_SLACK);
	CHECK_SOON(group_swap(&group) < GROUP_SLACK);
	remove_group(&group);
}

/*
 * A table several times as large as its group's limit moves in one call: a piece of it at a time is
 * in memory, and nobody is killed. -t SECONDS: one of a gibibyte, with the pieces' usual size.
 */
static void table_over_the_limit(void)
{
	size_t length = kz_options.seconds ? 1024 * MIB : 32 * MIB, limit = length / 4;
	struct kz_group group = new_group("table");
	pid_t owner = kz_fork();
	int status;

	if (!owner) {
		char *memory = map_aligned(length, HUGE), *map;
		int fd = CHECK_OK(kz_create());
		struct kz_move account;
		size_t at;

		if (!kz_options.seconds)
			CHECK_OK(kz_set_parameter("piece_pages", HUGE / PAGE));
		CHECK_OK(madvise(memory, length, MADV_NOHUGEPAGE));
		limit_group(&group, limit);
		enter_group(&group);
		/* Little of each page, so that the swap device, which is memory, has room for it. */
		for (at = 0; at < length; at += PAGE)
			*(size_t *)(memory + at) = at + 1;
		CHECK(group_swap(&group) > limit);
		CHECK_EQ(kz_move_one(fd, 0, memory, length, &account), 0);
		/* Of what is swapped out, one page is copied in each place for a huge one. */
		CHECK_EQ(account.moved_pages + account.copied_pages, length / PAGE);
		CHECK(account.copied_pages <= length / HUGE);
		CHECK(group_charge(&group) <= limit);
		map = map_file(fd, 0, length);
		for (at = 0; at < length; at += PAGE)
			CHECK_EQ(*(size_t *)(map + at), at + 1);
		_exit(0);
	}
	/* It may take its time. */
	CHECK_EQ(waitpid(owner, &status, 0), owner);
	CHECK_EQ(status, 0);
	remove_group(&group);
}

/*
 * A piece that the limit has no room for: as with any memory, the kernel kills whom it must. With
 * swapped-out pages that move without being read in it has room.
 */
static void piece_over_the_limit(void)
{
	struct kz_group group = new_group("over");
	struct kz_version version;
	bool direct;
	pid_t owner;

	CHECK_OK(kz_version(&version));
	direct = version.capabilities & KZ_CAP_DIRECT_SWAP;
	owner = kz_fork();
	if (!owner) {
		char *memory = map_pages(LENGTH);
		int fd = CHECK_OK(kz_create());

		limit_group(&group, LENGTH / 2);
		enter_group(&group);
		fill(memory, LENGTH, 1);
		if (direct) {
			CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
			CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
		} else {
			CHECK_ERRNO(kz_move_one(fd, 0, memory, LENGTH, NULL), ENOMEM);
		}
		CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
		_exit(0);
	}
	CHECK_EQ(kz_wait(owner), direct ? 0 : SIGKILL);
	CHECK_SOON(group_charge(&group) < GROUP_SLACK);
	CHECK_SOON(group_swap(&group) < GROUP_SLACK);
	remove_group(&group);
}

/* Whether no more groups than these die. What else the kernel has charged to one of them, a name in its
 * cache for instance, isn't what this is about. */
static bool only_dying(size_t groups)
{
	write_text("/proc/sys/vm/drop_caches", "3");
	return dying_groups() <= groups;
}

static void removed_group(void)
{
	struct kz_group group = new_group("removed");
	size_t dying = groups_have_version_2() ? dying_groups() : 0;
	pid_t owner = start_owner(&group, false, 0);
	char *map;
	int fd;

	await(0);
	tell(0);
	fd = receive_fd(kz_sockets[0]);
	tell(0);
	reap(owner);
	remove_group(&group);
	map = map_file(fd, 0, LENGTH);
	CHECK_EQ(differing(map, LENGTH, 1, 0), 0);
	CHECK_OK(madvise(map, LENGTH, MADV_PAGEOUT));
	CHECK_EQ(differing(map, LENGTH, 1, 0), 0);
	CHECK_OK(munmap(map, LENGTH));
	close(fd);
	if (groups_have_version_2()) {
		/*
		 * What was swapped out while the kernel wasn't through with removing the group
		 * counts as its own, until no processor has the slots in hand any more.
		 */
		const char *device = swap_device();

		CHECK_OK(swapoff(device));
		CHECK_OK(swapon(device, 0));
		CHECK_SOON(only_dying(dying));
	}
}

static void move_some(uint64_t *state, bool huge)
{
	size_t size = huge ? HUGE : 64 * PAGE;
	char *memory = huge ? map_huge(size) : map_pages(size);
	size_t length = 1 + kz_random(state) % size;
	size_t place = kz_random(state) % (size + 1 - length);
	unsigned int flags = kz_random(state) % 2 ? KZ_MOVE_UNMAP : 0;
	int fd = CHECK_OK(kz_create());

	memset(memory, 1, size);
	CHECK_OK(kz_move_one(fd, flags | KZ_MOVE_EDGES, memory + place, length, NULL));
	munmap(memory, size);
	close(fd);
}

/* Whatever happens in a group, nothing of it is charged when all is gone: no page is lost. */
static void nothing_is_left(void)
{
	struct kz_group group = new_group("left");
	pid_t owner = kz_fork();

	if (!owner) {
		uint64_t state = kz_options.seed;
		int round;

		enter_group(&group);
		for (round = 0; round < 300; round++)
			move_some(&state, round % 2);
		CHECK(group_charge(&group) < 4 * MIB);
		_exit(0);
	}
	reap(owner);
	CHECK_SOON(group_shmem(&group) == 0);
	CHECK_SOON(group_anonymous(&group) == 0);
	CHECK_SOON(group_charge(&group) < MIB);
	remove_group(&group);
}

static const struct kz_case cases[] = {
	{ "pages", pages },
	{ "pages_given_up", pages_given_up },
	{ "huge", huge },
	{ "copies", copies },
	{ "of_another_group", of_another_group },
	{ "of_two_groups", of_two_groups },
	{ "of_a_child", of_a_child },
	{ "swapping_under_a_limit", swapping_under_a_limit },
	{ "table_over_the_limit", table_over_the_limit },
	{ "piece_over_the_limit", piece_over_the_limit },
	{ "removed_group", removed_group },
	{ "nothing_is_left", nothing_is_left },
};

KZ_MAIN(cases)
