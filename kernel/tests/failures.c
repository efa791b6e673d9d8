// SPDX-License-Identifier: GPL-2.0
/* Memory that the hardware has lost, before a move and after. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kz_test.h"

#define LENGTH (8 * PAGE)

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE 101
#endif

static void go_on(int signal)
{
	(void)signal;
}

/* The kernel treats the page at an address as broken; newer ones send a signal at once. */
static void lose(char *address)
{
	int result;

	CHECK(signal(SIGBUS, go_on) != SIG_ERR);
	result = madvise(address, PAGE, MADV_HWPOISON);
	if (result && errno == EINVAL)
		kz_skip("the kernel has no memory failures");
	CHECK_OK(result);
	CHECK(signal(SIGBUS, SIG_DFL) != SIG_ERR);
}

static void check_rest(int fd, const char *map, size_t lost)
{
	char byte;

	CHECK(!is_readable(map + lost));
	CHECK_EQ(differing(map, lost, 1, 0), 0);
	CHECK_EQ(differing(map + lost + PAGE, LENGTH - lost - PAGE, 1, lost + PAGE), 0);
	CHECK_ERRNO(pread(fd, &byte, 1, (off_t)lost), EIO);
	CHECK_EQ(file_differing(fd, 0, lost, 1, 0), 0);
	CHECK_EQ(file_differing(fd, (off_t)(lost + PAGE), LENGTH - lost - PAGE, 1, lost + PAGE), 0);
}

static void of_a_file(void)
{
	char *memory = map_pages(LENGTH), *map;
	int fd = CHECK_OK(kz_create()), status;
	pid_t child;

	fill(memory, LENGTH, 1);
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
	map = map_file(fd, 0, LENGTH);
	CHECK_EQ(differing(map, LENGTH, 1, 0), 0);
	lose(map + 3 * PAGE);
	check_rest(fd, map, 3 * PAGE);
	check_rest(fd, memory, 3 * PAGE);
	child = kz_fork();
	if (!child) {
		(void)*(volatile char *)(map + 3 * PAGE);
		_exit(0);
	}
	status = kz_wait(child);
	CHECK(WIFSIGNALED(status));
	CHECK_EQ(WTERMSIG(status), SIGBUS);
	/* The file can still be appended to. */
	CHECK_EQ(kz_move_one(fd, 0, map_pages(PAGE), PAGE, NULL), LENGTH);
}

static void of_a_huge_page(void)
{
	char *memory = map_huge(HUGE), *map;
	int fd = CHECK_OK(kz_create());

	fill(memory, HUGE, 1);
	CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, memory, HUGE, NULL), 0);
	map = map_file(fd, 0, HUGE);
	lose(map + 5 * PAGE);
	CHECK(!is_readable(map + 5 * PAGE));
	CHECK_EQ(differing(map, 5 * PAGE, 1, 0), 0);
	CHECK_EQ(differing(map + 6 * PAGE, HUGE - 6 * PAGE, 1, 6 * PAGE), 0);
}

/* What is lost before can't move, and the rest of its range doesn't either. */
static void before_the_move(void)
{
	char *memory = map_pages(LENGTH), *good = map_pages(PAGE);
	struct kz_range ranges[] = { range_of(good, PAGE), range_of(memory, LENGTH) };
	int fd = CHECK_OK(kz_create());
	struct kz_snapshot *before;
	struct kz_move account;

	fill(good, PAGE, 2);
	fill(memory, LENGTH, 1);
	lose(memory + 2 * PAGE);
	before = take_snapshot(memory, LENGTH, fd);
	CHECK_EQ(kz_move(fd, KZ_MOVE_UNMAP, ranges + 1, 1, &account), -1);
	CHECK(errno == EHWPOISON || errno == EFAULT);
	CHECK_EQ(account.done, 0);
	CHECK_UNCHANGED(before);
	CHECK_EQ(kz_move(fd, 0, ranges, 2, &account), -1);
	CHECK(errno == EHWPOISON || errno == EFAULT);
	CHECK_EQ(account.done, 1);
	CHECK_EQ(account.file_size, PAGE);
	CHECK_EQ(file_differing(fd, 0, PAGE, 2, 0), 0);
	CHECK_EQ(kz_parameter("live_pages"), 1);
	CHECK_EQ(differing(memory, 2 * PAGE, 1, 0), 0);
	CHECK_EQ(kz_move_one(fd, 0, memory + 3 * PAGE, 5 * PAGE, NULL), PAGE);
	CHECK_EQ(differing(memory + 3 * PAGE, 5 * PAGE, 1, 3 * PAGE), 0);
}

/* A page that is about to break is replaced, and its bytes with it. */
static void soft_offline(void)
{
	char *memory = map_pages(LENGTH), *map;
	int fd = CHECK_OK(kz_create());
	uint64_t frame;

	fill(memory, LENGTH, 1);
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
	map = map_file(fd, 0, LENGTH);
	frame = frame_of(map + 4 * PAGE);
	if (madvise(map + 4 * PAGE, PAGE, MADV_SOFT_OFFLINE))
		kz_skip("the kernel takes no page offline");
	CHECK(frame_of(map + 4 * PAGE) != frame);
	CHECK_EQ(frame_of(memory + 4 * PAGE), frame_of(map + 4 * PAGE));
	CHECK_EQ(differing(map, LENGTH, 1, 0), 0);
	CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
}

static const struct kz_case cases[] = {
	{ "of_a_file", of_a_file },
	{ "of_a_huge_page", of_a_huge_page },
	{ "before_the_move", before_the_move },
	{ "soft_offline", soft_offline },
};

KZ_MAIN(cases)
