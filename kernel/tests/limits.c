// SPDX-License-Identifier: GPL-2.0
/* Limits: of a call, of a user, of a process, and of the machine's memory. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kz_test.h"

/*
 * Runs a case in a child with a parameter or file changed, and sets it back however the child ends.
 */
static void with_parameter(const char *name, long value, void (*run)(void))
{
	long before = kz_parameter(name);
	pid_t child;
	int status;

	CHECK_OK(kz_set_parameter(name, value));
	child = kz_fork();
	if (!child) {
		run();
		_exit(0);
	}
	status = kz_wait(child);
	CHECK_OK(kz_set_parameter(name, before));
	CHECK_EQ(status, 0);
}

static void set_user(unsigned int user, unsigned int group)
{
	CHECK_OK(setresgid(group, group, group));
	CHECK_OK(setresuid(user, user, user));
}

static void with_few_ranges(void)
{
	char *memory = map_pages(16 * PAGE);
	struct kz_range ranges[5];
	struct kz_extent extents[5];
	int fd = CHECK_OK(kz_create());
	struct kz_snapshot *before;
	struct kz_version version;
	size_t i;

	fill(memory, 16 * PAGE, 1);
	CHECK_OK(kz_version(&version));
	CHECK_EQ(version.max_ranges, 4);
	for (i = 0; i < 5; i++)
		ranges[i] = range_of(memory + 2 * i * PAGE, PAGE);
	before = take_snapshot(memory, 16 * PAGE, fd);
	CHECK_ERRNO(kz_move(fd, 0, ranges, 5, NULL), E2BIG);
	/* Too many before anything else that is wrong. */
	CHECK_ERRNO(kz_move(fd, 0, NULL, UINT32_MAX, NULL), E2BIG);
	CHECK_UNCHANGED(before);
	CHECK_OK(kz_move(fd, 0, ranges, 4, NULL));
	for (i = 0; i < 5; i++)
		extents[i] = (struct kz_extent){ .addr = (uintptr_t)memory, .length = PAGE };
	CHECK_ERRNO(kz_query(extents, 5), E2BIG);
	CHECK_EQ(kz_query(extents, 4), 4);
}

static void max_ranges(void)
{
	with_parameter("max_ranges", 4, with_few_ranges);
}

static void with_few_pages(void)
{
	char *memory = map_pages(16 * PAGE);
	struct kz_range ranges[] = {
		range_of(memory, 4 * PAGE),
		range_of(memory + 8 * PAGE, 5 * PAGE),
	};
	struct kz_range edges = range_of(memory + 1, 8 * PAGE);
	int fd = CHECK_OK(kz_create());
	struct kz_snapshot *before;

	fill(memory, 16 * PAGE, 1);
	before = take_snapshot(memory, 16 * PAGE, fd);
	CHECK_ERRNO(kz_move(fd, 0, ranges, 2, NULL), E2BIG);
	CHECK_ERRNO(kz_move(fd, KZ_MOVE_EDGES, &edges, 1, NULL), E2BIG);
	CHECK_UNCHANGED(before);
	ranges[1].length = 4 * PAGE;
	CHECK_OK(kz_move(fd, 0, ranges, 2, NULL));
}

static void max_call_pages(void)
{
	with_parameter("max_call_pages", 8, with_few_pages);
}

/* The range that doesn't fit stops the call; those before it have moved. */
static void with_few_bytes(void)
{
	char *memory = map_pages(16 * PAGE);
	struct kz_range ranges[] = {
		range_of(memory, 3 * PAGE),
		range_of(memory + 3 * PAGE, 2 * PAGE),
		range_of(memory + 5 * PAGE, 2 * PAGE),
	};
	int fd = CHECK_OK(kz_create()), second = CHECK_OK(kz_create());
	struct kz_snapshot *rest;
	struct kz_move account;
	struct kz_version version;

	fill(memory, 16 * PAGE, 1);
	CHECK_OK(kz_version(&version));
	CHECK_EQ(version.max_bytes, 6 * PAGE);
	CHECK_ERRNO(kz_move(fd, 0, ranges, 3, &account), EDQUOT);
	CHECK_EQ(account.done, 2);
	CHECK_EQ(account.moved_pages, 5);
	CHECK_EQ(account.file_size, 5 * PAGE);
	CHECK_EQ(ranges[1].offset, 3 * PAGE);
	CHECK_EQ(file_differing(fd, 0, 5 * PAGE, 1, 0), 0);
	CHECK_EQ(differing(memory, 16 * PAGE, 1, 0), 0);
	rest = take_snapshot(memory + 5 * PAGE, 11 * PAGE, fd);
	CHECK_ERRNO(kz_move(fd, 0, ranges + 2, 1, NULL), EDQUOT);
	/* All files count together, */
	CHECK_ERRNO(kz_move(second, 0, ranges + 2, 1, NULL), EDQUOT);
	CHECK_ERRNO(kz_move_one(fd, 0, memory + 8 * PAGE, 8 * PAGE, NULL), EDQUOT);
	CHECK_UNCHANGED(rest);
	CHECK_OK(kz_move_one(second, 0, memory + 5 * PAGE, PAGE, NULL));
	CHECK_ERRNO(kz_move_one(second, 0, memory + 8 * PAGE, PAGE, NULL), EDQUOT);
	/* until they are gone. */
	CHECK_OK(munmap(memory, 5 * PAGE));
	close(fd);
	CHECK_OK(kz_move_one(second, 0, memory + 8 * PAGE, 5 * PAGE, NULL));
	CHECK_ERRNO(kz_move_one(second, 0, memory + 14 * PAGE, PAGE, NULL), EDQUOT);
}

static void max_user_bytes(void)
{
	with_parameter("max_user_bytes", 6 * PAGE, with_few_bytes);
}

/* A process of a user that may use the device moves pages, and hands the file on. */
static pid_t start_user(unsigned int user, size_t length, int expected, int socket)
{
	pid_t child = kz_fork();
	int fd;

	if (child)
		return child;
	set_user(user, user);
	fd = CHECK_OK(kz_create());
	if (expected)
		CHECK_ERRNO(kz_move_one(fd, 0, map_pages(length), length, NULL), expected);
	else
		CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, map_pages(length), length, NULL), 0);
	send_fd(socket, fd);
	_exit(0);
}

static void users_apart(void)
{
	int sockets[2], first, other, own;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	reap(start_user(1001, 5 * PAGE, 0, sockets[1]));
	first = receive_fd(sockets[0]);
	/* It counts for its maker, who is gone, not for who holds it. */
	reap(start_user(1001, 2 * PAGE, EDQUOT, sockets[1]));
	close(receive_fd(sockets[0]));
	reap(start_user(1002, 6 * PAGE, 0, sockets[1]));
	other = receive_fd(sockets[0]);
	own = CHECK_OK(kz_create());
	CHECK_EQ(kz_move_one(own, 0, map_pages(6 * PAGE), 6 * PAGE, NULL), 0);
	close(first);
	reap(start_user(1001, 6 * PAGE, 0, sockets[1]));
	close(receive_fd(sockets[0]));
	close(other);
}

static void limit_of_each_user(void)
{
	struct stat device;

	CHECK_OK(stat(KZ_DEVICE, &device));
	CHECK_OK(chmod(KZ_DEVICE, 0666));
	with_parameter("max_user_bytes", 6 * PAGE, users_apart);
	CHECK_OK(chmod(KZ_DEVICE, device.st_mode & 0777));
}

static void file_size(void)
{
	struct rlimit limit = { 4 * PAGE, RLIM_INFINITY };
	char *memory = map_pages(8 * PAGE);
	struct kz_range ranges[] = {
		range_of(memory, 3 * PAGE),
		range_of(memory + 3 * PAGE, 2 * PAGE),
	};
	int fd = CHECK_OK(kz_create());
	struct kz_snapshot *rest;
	struct kz_move account;

	fill(memory, 8 * PAGE, 1);
	/* An errno is enough, without the signal of a write. */
	CHECK(signal(SIGXFSZ, SIG_DFL) != SIG_ERR);
	CHECK_OK(setrlimit(RLIMIT_FSIZE, &limit));
	CHECK_ERRNO(kz_move(fd, KZ_MOVE_UNMAP, ranges, 2, &account), EFBIG);
	CHECK_EQ(account.done, 1);
	rest = take_snapshot(memory + 3 * PAGE, 5 * PAGE, fd);
	CHECK_ERRNO(kz_move(fd, KZ_MOVE_UNMAP, ranges + 1, 1, NULL), EFBIG);
	CHECK_UNCHANGED(rest);
	CHECK_EQ(kz_move_one(fd, 0, memory + 4 * PAGE, PAGE, NULL), 3 * PAGE);
}

static void descriptors(void)
{
	struct rlimit few = { (rlim_t)kz_device() + 1, 100 }, enough = { 100, 100 };

	CHECK_OK(setrlimit(RLIMIT_NOFILE, &few));
	CHECK_ERRNO(kz_create(), EMFILE);
	CHECK_OK(setrlimit(RLIMIT_NOFILE, &enough));
	CHECK_EQ(kz_parameter("live_files"), 0);
}

/* Files count for overcommit like memory that may be written to. */
static void under_strict_overcommit(void)
{
	long long limit = read_field("/proc/meminfo", "CommitLimit");
	long long committed = read_field("/proc/meminfo", "Committed_AS");
	size_t length = 64 * PAGE, hog = (size_t)(limit - committed) * 1024;
	char *memory = map_pages(length);
	int fd = CHECK_OK(kz_create());
	struct kz_snapshot *before;
	struct kz_move account;

	fill(memory, length, 1);
	/* Nearly all that is left, so that the file's and the view's promise can't be had. */
	hog = (hog - length / 4) & -PAGE;
	while (mmap(NULL, hog, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
	       MAP_FAILED)
		hog -= 16 * PAGE;
	before = take_snapshot(memory, length, fd);
	CHECK_ERRNO(kz_move_one(fd, KZ_MOVE_UNMAP, memory, length, &account), ENOMEM);
	CHECK_EQ(account.done, 0);
	CHECK_ERRNO(kz_move_one(fd, 0, memory, length, &account), ENOMEM);
	CHECK_EQ(account.done, 0);
	CHECK_UNCHANGED(before);
	CHECK_EQ(differing(memory, length, 1, 0), 0);
}

static void overcommit(void)
{
	long long mode = read_number("/proc/sys/vm/overcommit_memory");
	char text[32];
	pid_t child;
	int status;

	CHECK_OK(write_text("/proc/sys/vm/overcommit_memory", "2"));
	child = kz_fork();
	if (!child) {
		under_strict_overcommit();
		_exit(0);
	}
	status = kz_wait(child);
	snprintf(text, sizeof(text), "%lld", mode);
	CHECK_OK(write_text("/proc/sys/vm/overcommit_memory", text));
	CHECK_EQ(status, 0);
}

/* What a file promises is given back with it. */
static void promises_are_kept(void)
{
	long long committed = read_field("/proc/meminfo", "Committed_AS");
	size_t length = 4096 * PAGE;
	int fd = CHECK_OK(kz_create());
	char *memory = map_pages(length);

	CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, memory, length, NULL), 0);
	CHECK_SOON(read_field("/proc/meminfo", "Committed_AS") >= committed + 4096 * 4 - 1024);
	CHECK_SOON(read_field("/proc/meminfo", "Committed_AS") <= committed + 4096 * 4 + 1024);
	close(fd);
	CHECK_SOON(read_field("/proc/meminfo", "Committed_AS") <= committed + 1024);
}

#define GROUP 4711

static void check_access(unsigned int user, unsigned int group, int expected)
{
	pid_t child = kz_fork();

	if (!child) {
		set_user(user, group);
		if (expected) {
			CHECK_ERRNO(open(KZ_DEVICE, O_RDWR), expected);
			CHECK_ERRNO(open(KZ_DEVICE, O_RDONLY), expected);
		} else {
			CHECK_EQ(kz_move_one((int)CHECK_OK(kz_create()), 0, map_pages(PAGE), PAGE,
					     NULL), 0);
		}
		_exit(0);
	}
	reap(child);
}

/* Rights as the module makes them, and as the udev rule makes them. */
/* What the rest of a call would have needed counts for nobody when the call has stopped. */
static void with_room_for_two(void)
{
	unsigned int stopped = 0;
	long step;

	for (step = 1; !stopped; step++) {
		char *memory = map_pages(16 * PAGE);
		struct kz_range ranges[] = {
			range_of(memory, 3 * PAGE),
			range_of(memory + 4 * PAGE, 3 * PAGE),
		};
		int fd = CHECK_OK(kz_create()), second = CHECK_OK(kz_create());
		struct kz_move account;

		fill(memory, 16 * PAGE, 1);
		CHECK_OK(kz_set_parameter("fail_step", step));
		CHECK_ERRNO(kz_move(fd, 0, ranges, 2, &account), ENOMEM);
		stopped = account.done;
		CHECK_OK(kz_move_one(second, 0, memory + 8 * PAGE, (6 - 3 * stopped) * PAGE, NULL));
		close(fd);
		close(second);
		CHECK_OK(munmap(memory, 16 * PAGE));
	}
}

static void rest_of_a_call(void)
{
	with_parameter("max_user_bytes", 6 * PAGE, with_room_for_two);
}

static void access_by_group(void)
{
	struct stat device;

	CHECK_OK(stat(KZ_DEVICE, &device));
	CHECK_EQ(device.st_mode, S_IFCHR | 0600);
	CHECK_EQ(device.st_uid, 0);
	check_access(1000, 1000, EACCES);
	check_access(1000, GROUP, EACCES);
	CHECK_OK(chown(KZ_DEVICE, 0, GROUP));
	CHECK_OK(chmod(KZ_DEVICE, 0660));
	check_access(1000, 1000, EACCES);
	check_access(1000, GROUP, 0);
	CHECK_OK(chmod(KZ_DEVICE, 0600));
	CHECK_OK(chown(KZ_DEVICE, 0, 0));
}

static const struct kz_case cases[] = {
	{ "max_ranges", max_ranges },
	{ "max_call_pages", max_call_pages },
	{ "max_user_bytes", max_user_bytes },
	{ "rest_of_a_call", rest_of_a_call },
	{ "limit_of_each_user", limit_of_each_user },
	{ "file_size", file_size },
	{ "descriptors", descriptors },
	{ "overcommit", overcommit },
	{ "promises_are_kept", promises_are_kept },
	{ "access_by_group", access_by_group },
};

KZ_MAIN(cases)
