// SPDX-License-Identifier: GPL-2.0
/* What the module counts, for all calls together: each reason for a copy has its own name. */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kz_test.h"

#define COUNTERS "/sys/module/kernelzero/parameters/counters"
#define COUNT 8
#define LENGTH (COUNT * PAGE)

static const char *const kz_names[] = {
	"pieces", "retries", "moved", "swapped", "split", "drains", "copied_edge", "copied_shared", "copied_cut",
	"copied_held", "copied_used", "copied_occupied", "copied_swapped", "copied_forced",
};

#define NAMES ARRAY_SIZE(kz_names)

struct counters {
	long long value[NAMES];
};

static struct counters counters_now(void)
{
	struct counters now;
	size_t i;

	for (i = 0; i < NAMES; i++) {
		now.value[i] = read_field(COUNTERS, kz_names[i]);
		CHECK(now.value[i] >= 0);
	}
	return now;
}

/* How much one of them has grown. */
static long long grown(const struct counters *before, const char *name)
{
	size_t i = 0;

	while (strcmp(kz_names[i], name))
		i++;
	return read_field(COUNTERS, name) - before->value[i];
}

static char *filled(char *memory, size_t length)
{
	fill(memory, length, 1);
	return memory;
}

static void move(const char *memory, size_t length, unsigned int flags)
{
	CHECK_OK(kz_move_one((int)CHECK_OK(kz_create()), flags, memory, length, NULL));
}

static void moved_in_pieces(void)
{
	char *memory = map_aligned(2 * HUGE, HUGE);
	struct counters before;

	CHECK_OK(madvise(memory, 2 * HUGE, MADV_NOHUGEPAGE));
	filled(memory, 2 * HUGE);
	CHECK_OK(kz_set_parameter("piece_pages", HUGE / PAGE));
	before = counters_now();
	move(memory, 2 * HUGE, 0);
	CHECK_EQ(grown(&before, "pieces"), 2);
	CHECK_EQ(grown(&before, "moved"), 2 * HUGE / PAGE);
}

static void edges(void)
{
	char *memory = filled(map_pages(LENGTH), LENGTH);
	struct counters before = counters_now();

	move(memory + 1, LENGTH - 2, KZ_MOVE_EDGES);
	CHECK_EQ(grown(&before, "copied_edge"), 2);
	CHECK_EQ(grown(&before, "moved"), COUNT - 2);
}

static void shared(void)
{
	char *memory = filled(map_pages(LENGTH), LENGTH);
	struct counters before;
	pid_t child = kz_fork();

	if (!child) {
		pause();
		_exit(0);
	}
	before = counters_now();
	move(memory, LENGTH, 0);
	CHECK_EQ(grown(&before, "copied_shared"), COUNT);
	CHECK_EQ(grown(&before, "moved"), 0);
	CHECK_OK(kill(child, SIGKILL));
	CHECK_EQ(kz_wait(child), SIGKILL);
}

static void held(void)
{
	char *memory = filled(map_pages(LENGTH), LENGTH);
	struct iovec page = { memory + PAGE, PAGE };
	struct counters before;
	int pipes[2];

	CHECK_OK(pipe(pipes));
	CHECK_EQ(vmsplice(pipes[1], &page, 1, 0), PAGE);
	before = counters_now();
	move(memory, LENGTH, 0);
	CHECK_EQ(grown(&before, "copied_held"), 1);
	CHECK_EQ(grown(&before, "moved"), COUNT - 1);
}

static void forced(void)
{
	char *memory = filled(map_pages(LENGTH), LENGTH);
	struct counters before = counters_now();

	CHECK_OK(kz_set_parameter("force_copy", 1));
	move(memory, LENGTH, 0);
	CHECK_EQ(grown(&before, "copied_forced"), COUNT);
	CHECK_EQ(grown(&before, "moved"), 0);
}

static void split(void)
{
	char *memory = filled(map_huge(2 * HUGE), 2 * HUGE);
	struct counters before = counters_now();

	move(memory + HUGE / 2, HUGE, 0);
	CHECK_EQ(grown(&before, "split"), 2);
	CHECK_EQ(grown(&before, "moved"), HUGE / PAGE);
}

/* Huge pages of which little moves are left alone, and that little is copied. */
static void cut(void)
{
	char *memory = filled(map_huge(2 * HUGE), 2 * HUGE);
	struct counters before = counters_now();
	size_t quarter = HUGE / 4;

	move(memory + HUGE - quarter, 2 * quarter, KZ_MOVE_UNMAP);
	CHECK_EQ(grown(&before, "split"), 0);
	CHECK_EQ(grown(&before, "copied_cut"), 2 * quarter / PAGE);
	CHECK_EQ(grown(&before, "moved"), 0);
	CHECK(is_huge(memory));
	CHECK(is_huge(memory + HUGE + quarter));
	CHECK_EQ(differing(memory, HUGE - quarter, 1, 0), 0);
	CHECK_EQ(differing(memory + HUGE + quarter, HUGE - quarter, 1, HUGE + quarter), 0);
}

/* Ranges that have little of a huge page each, but most of it together. */
static void cut_together(void)
{
	char *memory = filled(map_huge(HUGE), HUGE);
	struct kz_range ranges[8];
	struct counters before = counters_now();
	size_t i, eighth = HUGE / 8;

	for (i = 0; i < 8; i++)
		ranges[(i * 3) % 8] = range_of(memory + i * eighth, eighth - PAGE);
	CHECK_OK(kz_move((int)CHECK_OK(kz_create()), 0, ranges, 8, NULL));
	CHECK_EQ(grown(&before, "split"), 1);
	CHECK_EQ(grown(&before, "copied_cut"), 0);
	CHECK_EQ(grown(&before, "moved"), HUGE / PAGE - 8);
	CHECK_EQ(differing(memory, HUGE, 1, 0), 0);
}

static const struct kz_case cases[] = {
	{ "moved_in_pieces", moved_in_pieces },
	{ "edges", edges },
	{ "shared", shared },
	{ "held", held },
	{ "forced", forced },
	{ "split", split },
	{ "cut", cut },
	{ "cut_together", cut_together },
};

KZ_MAIN(cases)
