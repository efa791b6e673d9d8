// SPDX-License-Identifier: GPL-2.0
/* Memory that the hardware has lost, before a move and after. */
#include <linux/kernel-page-flags.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
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

/*
 * A page of the file can be broken before a page is copied to it only if it is part of a huge one,
 * which shmem has made for a page that was copied before.
 */
#define HUGE_PAGES 4
#define AREA (HUGE_PAGES * HUGE)
#define SHMEM_HUGE "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
#define BREAK_FRAME "/sys/devices/system/memory/hard_offline_page"

struct breaker {
	uint64_t frames[HUGE_PAGES];	/* of huge pages that the file is likely to get */
	atomic_bool runs, stop;
};

/* Breaks the last page of the first one that is a file's, while it's copied to from its first. */
static void *break_huge_page(void *argument)
{
	struct breaker *breaker = argument;
	char frame[32];
	size_t i;

	for (i = 0; !breaker->stop; i = (i + 1) % HUGE_PAGES) {
		uint64_t flags = frame_flags(breaker->frames[i]);

		breaker->runs = true;
		if (!(flags & 1ULL << KPF_THP) || !(flags & 1ULL << KPF_SWAPBACKED) ||
		    flags & 1ULL << KPF_ANON)
			continue;
		snprintf(frame, sizeof(frame), "%#lx", (breaker->frames[i] + 511) * PAGE);
		/* That it's an error, as the page is in use, doesn't matter. */
		write_text(BREAK_FRAME, frame);
		break;
	}
	return NULL;
}

/* Copies an area to a file, a page of which breaks. Return: whether it broke before its copy. */
static bool lose_copy(int fd, char *memory, struct kz_move *account)
{
	char *spare = map_huge(AREA);
	struct breaker breaker = {};
	pthread_t thread;
	cpu_set_t here;
	long long offset;
	size_t i;

	fill(memory, AREA, 1);
	for (i = 0; i < HUGE_PAGES; i++)
		breaker.frames[i] = frame_of(spare + i * HUGE);
	CHECK_EQ(pthread_create(&thread, NULL, break_huge_page, &breaker), 0);
	CHECK_SOON(breaker.runs);
	/* The next huge pages that this processor hands out are those that it got back last. */
	CPU_ZERO(&here);
	CPU_SET(sched_getcpu(), &here);
	CHECK_OK(sched_setaffinity(0, sizeof(here), &here));
	CHECK_OK(munmap(spare, AREA));
	offset = kz_move_one(fd, 0, memory, AREA, account);
	if (offset == -1)
		CHECK_EQ(errno, EIO);
	breaker.stop = true;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	return offset == -1;
}

/* Where in an area a page can't be read; the area's length if all can. */
static size_t lost_place(const char *area)
{
	size_t at = HUGE - PAGE;

	while (at < AREA && is_readable(area + at))
		at += HUGE;
	return at < AREA ? at : AREA;
}

static bool of_a_copy_in(struct kz_move *account)
{
	char *memory = map_pages(AREA);
	int fd = CHECK_OK(kz_create());
	bool lost = lose_copy(fd, memory, account);
	size_t at = lost_place(memory);

	CHECK(at < AREA || !lost);
	CHECK_EQ(account->done, 1);
	CHECK_EQ(account->file_size, AREA);
	CHECK_EQ(differing(memory, at, 1, 0), 0);
	if (at < AREA) {
		CHECK_EQ(differing(memory + at + PAGE, AREA - at - PAGE, 1, at + PAGE), 0);
		/* Splits the huge page, so that the broken one isn't given to others with it. */
		lose(memory + at - PAGE);
	}
	CHECK_OK(kz_move_one(fd, 0, map_pages(PAGE), PAGE, NULL));
	CHECK_OK(munmap(memory, AREA));
	close(fd);
	return lost;
}

static void of_copies(void)
{
	struct kz_move account;
	int tries = 0;

	CHECK_OK(kz_set_parameter("force_copy", 1));
	while (!of_a_copy_in(&account))
		if (++tries == 100)
			FAIL("no page broke before it was copied to");
	CHECK_EQ(account.copied_pages, AREA / PAGE);
}

static void of_a_copy(void)
{
	pid_t child;
	int status;

	if (access(BREAK_FRAME, W_OK) || write_text(SHMEM_HUGE, "always"))
		kz_skip("the kernel breaks no frames, or makes no huge pages of files");
	child = kz_fork();
	if (!child) {
		of_copies();
		_exit(0);
	}
	status = kz_wait(child);
	CHECK_OK(write_text(SHMEM_HUGE, "never"));
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED)
		_exit(EXIT_SKIPPED);
	CHECK_EQ(status, 0);
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
	{ "of_a_copy", of_a_copy },
	{ "soft_offline", soft_offline },
};

KZ_MAIN(cases)
