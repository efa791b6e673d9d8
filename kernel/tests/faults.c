// SPDX-License-Identifier: GPL-2.0
/*
 * Every step that can fail does, one after the other: pieces before it have moved, all others are
 * as they were, nothing is lost, and the same call goes through the next time.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kz_group.h"
#include "kz_swap.h"

#define COUNT 4
#define SMALL (8 * PAGE)
#define LARGE (3 * HUGE)

/* Of the file: 4 pages, a hole up to the huge ones, these, 20 pages, 3 pages. */
#define FILE_SIZE (3 * HUGE + 23 * PAGE)

/* How many calls have stopped within a range. */
static unsigned int partly_done;

/* One call with a bit of everything. */
struct plan {
	char *small, *large;
	uint64_t *small_frames, *large_frames;
	struct kz_range ranges[COUNT];
	int fd;
};

static struct plan new_plan(void)
{
	struct plan plan = {
		.small = map_pages(SMALL),
		.large = map_huge(LARGE),
		.fd = CHECK_OK(kz_create()),
	};

	fill(plan.small, SMALL, 1);
	fill(plan.large, LARGE, 2);
	plan.small_frames = frames_of(plan.small, SMALL / PAGE);
	plan.large_frames = frames_of(plan.large, LARGE / PAGE);
	/* khugepaged would put a huge page that a failed move has split together again, elsewhere. */
	CHECK_OK(madvise(plan.large, LARGE, MADV_NOHUGEPAGE));
	plan.ranges[0] = range_of(plan.small + 100, 3 * PAGE);
	plan.ranges[1] = range_of(plan.large, 2 * HUGE);
	plan.ranges[2] = range_of(plan.large + 2 * HUGE + 5 * PAGE, 20 * PAGE);
	plan.ranges[3] = range_of(plan.small + 5 * PAGE, 3 * PAGE);
	return plan;
}

static void free_plan(struct plan *plan)
{
	munmap(plan->small, SMALL);
	munmap(plan->large, LARGE);
	free(plan->small_frames);
	free(plan->large_frames);
	close(plan->fd);
}

static bool is_small(const struct plan *plan, const struct kz_range *range)
{
	return range->addr - (uintptr_t)plan->small < SMALL;
}

/* Which byte of its memory a range begins with. */
static size_t place_of(const struct plan *plan, const struct kz_range *range)
{
	return range->addr - (uintptr_t)(is_small(plan, range) ? plan->small : plan->large);
}

static void check_done(const struct plan *plan, const struct kz_range *range, unsigned int flags)
{
	uint64_t seed = is_small(plan, range) ? 1 : 2;
	size_t place = place_of(plan, range);
	const char *whole = (const char *)((range->addr + PAGE - 1) & -PAGE);

	CHECK_EQ(file_differing(plan->fd, (off_t)range->offset, range->length, seed, place), 0);
	if (flags & KZ_MOVE_UNMAP)
		CHECK(!is_mapped(whole));
	else if (flags & KZ_MOVE_DISCARD)
		CHECK_EQ(not_zero(whole, PAGE), 0);
	else
		CHECK_EQ(differing((char *)range->addr, range->length, seed, place), 0);
}

/* Anonymous memory, of the same frames and bytes. */
static void check_untouched(const struct plan *plan, const struct kz_range *range)
{
	bool small = is_small(plan, range);
	size_t place = place_of(plan, range);
	size_t pages = (place % PAGE + range->length + PAGE - 1) / PAGE;
	uint64_t *frames = (small ? plan->small_frames : plan->large_frames) + place / PAGE;
	char *start = (char *)(range->addr & -PAGE);
	struct kz_extent extent = { .addr = range->addr, .length = 1 };

	CHECK_EQ(range->offset, 0);
	CHECK_EQ(kz_query(&extent, 1), 0);
	CHECK_EQ(differing((char *)range->addr, range->length, small ? 1 : 2, place), 0);
	CHECK_EQ(same_frames(start, pages, frames), pages);
}

static void check_file_size(const struct plan *plan, const struct kz_move *account)
{
	struct stat status;

	CHECK_OK(fstat(plan->fd, &status));
	CHECK_EQ(status.st_size, account->file_size);
	CHECK_EQ(status.st_blocks * 512,
		 (account->moved_pages + account->copied_pages) * PAGE);
	CHECK_EQ(kz_parameter("live_pages") * PAGE, account->file_size);
}

/* The ranges that a call hasn't done, one of them perhaps in part. Returns how many. */
static size_t rest_of(const struct plan *plan, const struct kz_move *account, struct kz_range *rest)
{
	size_t count = COUNT - account->done;

	memcpy(rest, plan->ranges + account->done, count * sizeof(*rest));
	if (account->partial_bytes) {
		rest->addr += account->partial_bytes;
		rest->length -= account->partial_bytes;
		rest->offset = 0;
	}
	return count;
}

static void check_ranges(const struct plan *plan, const struct kz_move *account, unsigned int flags)
{
	struct kz_range part, rest[COUNT];
	size_t count = rest_of(plan, account, rest), i;

	for (i = 0; i < account->done; i++)
		check_done(plan, plan->ranges + i, flags);
	if (account->partial_bytes) {
		part = plan->ranges[account->done];
		part.length = account->partial_bytes;
		check_done(plan, &part, flags);
	}
	for (i = 0; i < count; i++)
		check_untouched(plan, rest + i);
}

/* Moves what is left; a range that was partly done goes on where it stopped. */
static void move_rest(struct plan *plan, const struct kz_move *account, unsigned int flags,
		      struct kz_move *total)
{
	struct kz_range rest[COUNT];
	size_t count = rest_of(plan, account, rest), i;

	CHECK_OK(kz_move(plan->fd, flags | KZ_MOVE_EDGES, rest, count, total));
	for (i = 0; i < count; i++) {
		struct kz_range *range = plan->ranges + account->done + i;

		if (!i && account->partial_bytes)
			CHECK_EQ(rest[i].offset, range->offset + account->partial_bytes);
		else
			range->offset = rest[i].offset;
		check_done(plan, range, flags);
	}
	total->moved_pages += account->moved_pages;
	total->copied_pages += account->copied_pages;
}

/* Returns whether the call went through although its @step was to fail: it has fewer. */
static bool move_with_failure(long step, unsigned int flags)
{
	struct plan plan = new_plan();
	struct kz_move account, rest;
	bool succeeded;

	CHECK_OK(kz_set_parameter("fail_step", step));
	succeeded = !kz_move(plan.fd, flags | KZ_MOVE_EDGES, plan.ranges, COUNT, &account);
	if (!succeeded && errno != ENOMEM)
		FAIL("step %ld: errno %d", step, errno);
	CHECK_EQ(kz_parameter("fail_step"), 0);
	CHECK(succeeded ? account.done == COUNT : account.done < COUNT);
	partly_done += account.partial_bytes != 0;
	check_ranges(&plan, &account, flags);
	check_file_size(&plan, &account);
	move_rest(&plan, &account, flags, &rest);
	CHECK_EQ(rest.file_size, FILE_SIZE);
	check_file_size(&plan, &rest);
	free_plan(&plan);
	return succeeded;
}

/* All steps; how many there are. */
static long every_step(unsigned int flags)
{
	long step = 1;

	while (!move_with_failure(step, flags))
		step++;
	return step - 1;
}

/*
 * In a group, so that it can be seen that failures leave nothing behind, not a page; and the user
 * may have no more than the file needs, so that not a byte stays counted.
 */
static void sweep(unsigned int flags)
{
	struct kz_group group = new_group("faults");
	long long committed = read_field("/proc/meminfo", "Committed_AS");
	pid_t owner = kz_fork();

	if (!owner) {
		CHECK_OK(kz_set_parameter("max_user_bytes", FILE_SIZE));
		CHECK_OK(kz_set_parameter("piece_pages", HUGE / PAGE));
		enter_group(&group);
		/* Each of the pieces has at least the pins, the size, the replacement. */
		CHECK(every_step(flags) >= 3 * (COUNT + 1));
		CHECK(partly_done >= 3);
		CHECK_EQ(kz_parameter("live_files"), 0);
		CHECK_EQ(kz_parameter("live_pages"), 0);
		_exit(0);
	}
	reap(owner);
	CHECK_SOON(read_field("/proc/meminfo", "Committed_AS") < committed + 1024);
	CHECK_SOON(group_anonymous(&group) == 0);
	CHECK_SOON(group_shmem(&group) == 0);
	CHECK_SOON(group_charge(&group) < MIB);
	remove_group(&group);
}

static void of_moves(void)
{
	sweep(0);
}

static void of_moves_given_up(void)
{
	sweep(KZ_MOVE_UNMAP);
}

static void of_moves_discarded(void)
{
	sweep(KZ_MOVE_DISCARD);
}

static void of_creation(void)
{
	char *memory = map_pages(PAGE);
	long step;
	int fd;

	for (step = 1;; step++) {
		struct kz_snapshot *before = take_snapshot(memory, PAGE, -1);

		CHECK_OK(kz_set_parameter("fail_step", step));
		fd = kz_create();
		if (fd >= 0)
			break;
		CHECK_EQ(errno, ENOMEM);
		CHECK_EQ(kz_parameter("fail_step"), 0);
		CHECK_EQ(kz_parameter("live_files"), 0);
		CHECK_UNCHANGED(before);
	}
	CHECK(step > 3);
	CHECK_OK(kz_set_parameter("fail_step", 0));
	CHECK_OK(kz_move_one(fd, 0, memory, PAGE, NULL));
}

/*
 * An allocation of the kernel's own, wherever one is made: not where the module asks for memory, but
 * where it reads bytes that are swapped out, for instance.
 */
static void of_the_kernels_allocations(void)
{
	unsigned int nth, failed = 0;

	if (!let_allocations_fail())
		kz_skip("the kernel can't let allocations fail");
	for (nth = 1; nth <= 150; nth++) {
		char *memory = map_pages(4 * PAGE);
		int fd = CHECK_OK(kz_create());
		struct kz_range range = range_of(memory + 100, 3 * PAGE);
		long result;
		int error;

		fill_and_swap_out(memory, 4 * PAGE);
		fail_allocation(nth);
		result = kz_move(fd, KZ_MOVE_EDGES, &range, 1, NULL);
		error = errno;
		fail_allocation(0);
		if (result && error != ENOMEM)
			FAIL("allocation %u: errno %d", nth, error);
		failed += result != 0;
		CHECK_EQ(differing(memory, 4 * PAGE, 1, 0), 0);
		if (!result)
			CHECK_EQ(file_differing(fd, (off_t)range.offset, range.length, 1, 100), 0);
		munmap(memory, 4 * PAGE);
		close(fd);
	}
	CHECK(failed);
}

static const struct kz_case cases[] = {
	{ "of_moves", of_moves },
	{ "of_moves_given_up", of_moves_given_up },
	{ "of_moves_discarded", of_moves_discarded },
	{ "of_creation", of_creation },
	{ "of_the_kernels_allocations", of_the_kernels_allocations },
};

KZ_MAIN(cases)
