// SPDX-License-Identifier: GPL-2.0
/* What is copied: pages that others have as well, or hold. The account says how many. */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kz_test.h"

#define COUNT 16
#define LENGTH (COUNT * PAGE)

static void check_account(const struct kz_move *account, size_t moved, size_t copied)
{
	CHECK_EQ(account->moved_pages, moved);
	CHECK_EQ(account->copied_pages, copied);
}

static void move_what_a_child_has(char *memory, size_t length)
{
	int fd = CHECK_OK(kz_create());
	struct kz_move account;
	struct kz_sharer sharer;

	fill(memory, length, 1);
	sharer = share_with_child(memory, length);
	CHECK_EQ(kz_move_one(fd, 0, memory, length, &account), 0);
	check_account(&account, 0, length / PAGE);
	memset(memory, 0, length);
	let_look(sharer);
	CHECK_EQ(file_differing(fd, 0, length, 1, 0), 0);
}

static void a_childs(void)
{
	move_what_a_child_has(map_pages(LENGTH), LENGTH);
}

static void a_childs_huge(void)
{
	move_what_a_child_has(map_huge(HUGE), HUGE);
}

/* Pages written to since the fork are the writer's alone. */
static void a_childs_in_part(void)
{
	char *memory = map_pages(LENGTH);
	int fd = CHECK_OK(kz_create());
	struct kz_move account;
	struct kz_sharer sharer;

	fill(memory, LENGTH, 1);
	sharer = share_with_child(memory, LENGTH);
	fill(memory, 5 * PAGE, 2);
	CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, memory, LENGTH, &account), 0);
	check_account(&account, 5, COUNT - 5);
	let_look(sharer);
	CHECK_EQ(file_differing(fd, 0, 5 * PAGE, 2, 0), 0);
	CHECK_EQ(file_differing(fd, 5 * PAGE, LENGTH - 5 * PAGE, 1, 5 * PAGE), 0);
}

static void of_a_child_that_is_gone(void)
{
	char *memory = map_pages(LENGTH);
	int fd = CHECK_OK(kz_create());
	struct kz_move account;

	fill(memory, LENGTH, 1);
	let_look(share_with_child(memory, LENGTH));
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, &account), 0);
	check_account(&account, COUNT, 0);
	CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
}

/* The other way round: the child moves what its parent has. */
static void a_parents(void)
{
	char *memory = map_pages(LENGTH);
	pid_t child;

	fill(memory, LENGTH, 1);
	child = kz_fork();
	if (!child) {
		struct kz_move account;
		int fd = CHECK_OK(kz_create());

		CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, &account), 0);
		check_account(&account, 0, COUNT);
		memset(memory, 0, LENGTH);
		CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
		_exit(0);
	}
	reap(child);
	CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
}

static void in_a_pipe(void)
{
	char *memory = map_pages(LENGTH), copy[2 * PAGE];
	struct iovec vector = { memory + 3 * PAGE, 2 * PAGE };
	int ends[2], fd = CHECK_OK(kz_create());
	uint64_t frame;
	struct kz_move account;

	fill(memory, LENGTH, 1);
	frame = frame_of(memory + 3 * PAGE);
	CHECK_OK(pipe(ends));
	CHECK_EQ(vmsplice(ends[1], &vector, 1, 0), 2 * PAGE);
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, &account), 0);
	check_account(&account, COUNT - 2, 2);
	CHECK(frame_of(memory + 3 * PAGE) != frame);
	memset(memory, 0, LENGTH);
	CHECK_EQ(read(ends[0], copy, sizeof(copy)), sizeof(copy));
	CHECK_EQ(differing(copy, sizeof(copy), 1, 3 * PAGE), 0);
	CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
}

static void huge_in_a_pipe(void)
{
	char *memory = map_huge(2 * HUGE);
	struct iovec vector = { memory + 100, 10 };
	int ends[2], fd = CHECK_OK(kz_create());
	struct kz_move account;

	fill(memory, 2 * HUGE, 1);
	CHECK_OK(pipe(ends));
	CHECK_EQ(vmsplice(ends[1], &vector, 1, 0), 10);
	CHECK_EQ(kz_move_one(fd, KZ_MOVE_UNMAP, memory, 2 * HUGE, &account), 0);
	check_account(&account, 512, 512);
	CHECK_EQ(file_differing(fd, 0, 2 * HUGE, 1, 0), 0);
}

/* Lets go of what a pipe has as soon as a call looks who holds the pages. */
struct passer {
	int ends[2];
	long long drains;
	atomic_bool over;
};

static long long drains(void)
{
	return read_field("/sys/module/kernelzero/parameters/counters", "drains");
}

static void *pass(void *argument)
{
	struct passer *passer = argument;

	while (drains() == passer->drains && !passer->over)
		;
	CHECK_OK(close(passer->ends[0]));
	CHECK_OK(close(passer->ends[1]));
	return NULL;
}

/* Moves a huge page that is in a pipe when the call begins. Return: pages copied. */
static size_t move_what_passes(char *memory)
{
	struct iovec vector = { memory + 100, 10 };
	struct passer passer = { .drains = drains() };
	int fd = CHECK_OK(kz_create());
	struct kz_move account;
	pthread_t thread;

	fill(memory, HUGE, 1);
	CHECK_OK(pipe(passer.ends));
	CHECK_EQ(vmsplice(passer.ends[1], &vector, 1, 0), 10);
	CHECK_EQ(pthread_create(&thread, NULL, pass, &passer), 0);
	CHECK_EQ(kz_move_one(fd, 0, memory, HUGE, &account), 0);
	passer.over = true;
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(account.moved_pages + account.copied_pages, 512);
	CHECK_EQ(file_differing(fd, 0, HUGE, 1, 0), 0);
	CHECK_EQ(differing(memory, HUGE, 1, 0), 0);
	CHECK_OK(close(fd));
	return account.copied_pages;
}

/* A reference that goes meanwhile copies nothing; the thread may come too late now and then. */
static void huge_held_for_a_moment(void)
{
	int tries;

	for (tries = 0; tries < 50; tries++)
		if (!move_what_passes(map_huge(HUGE)))
			return;
	FAIL("always copied");
}

/* io_uring's registered buffers, into which it reads by itself */

struct ring {
	int fd;
	struct io_uring_params parameters;
	char *queue;
	struct io_uring_sqe *entries;
};

static struct ring new_ring(void)
{
	int rights = PROT_READ | PROT_WRITE;
	struct ring ring = {};

	ring.fd = (int)syscall(SYS_io_uring_setup, 4, &ring.parameters);
	if (ring.fd == -1)
		kz_skip("the kernel has no io_uring");
	ring.queue = mmap(NULL, PAGE, rights, MAP_SHARED, ring.fd, IORING_OFF_SQ_RING);
	CHECK_OK(ring.queue);
	ring.entries = mmap(NULL, PAGE, rights, MAP_SHARED, ring.fd, IORING_OFF_SQES);
	CHECK_OK(ring.entries);
	return ring;
}

static void read_into_registered(struct ring *ring, int fd, char *address, size_t length)
{
	uint32_t *tail = (uint32_t *)(ring->queue + ring->parameters.sq_off.tail);
	uint32_t *array = (uint32_t *)(ring->queue + ring->parameters.sq_off.array);

	ring->entries[0] = (struct io_uring_sqe){ .opcode = IORING_OP_READ_FIXED, .fd = fd,
						  .addr = (uintptr_t)address,
						  .len = (uint32_t)length };
	array[*tail & 3] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	CHECK_EQ(syscall(SYS_io_uring_enter, ring->fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0), 1);
}

static void registered_buffers(void)
{
	char *memory = map_pages(LENGTH);
	struct iovec buffer = { memory + 8 * PAGE, 4 * PAGE };
	int fd = CHECK_OK(kz_create()), source = CHECK_OK(memfd_create("source", 0));
	struct ring ring = new_ring();
	struct kz_move account;

	fill(memory, LENGTH, 1);
	CHECK_EQ(write(source, "changed by io_uring", 20), 20);
	CHECK_OK(syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS, &buffer, 1));
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, &account), 0);
	check_account(&account, COUNT - 4, 4);
	/* The kernel writes to the pages that it holds, which aren't the file's or the view's. */
	read_into_registered(&ring, source, memory + 8 * PAGE, 20);
	CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
	CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
}

/* A little of a huge page at both ends of a range, which has a whole one between them. */
static void cut(unsigned int flags)
{
	char *memory = map_huge(3 * HUGE), *start = memory + HUGE - 20 * PAGE;
	size_t length = HUGE + 50 * PAGE;
	int fd = CHECK_OK(kz_create());
	struct kz_move account;
	long long offset;

	fill(memory, 3 * HUGE, 1);
	offset = CHECK_OK(kz_move_one(fd, flags, start, length, &account));
	check_account(&account, 512, 50);
	CHECK_EQ(account.huge_pages, 512);
	CHECK_EQ(file_differing(fd, offset, length, 1, HUGE - 20 * PAGE), 0);
	/* What is left of them is the owner's as before, and what it writes stays its own. */
	CHECK_EQ(differing(memory, HUGE - 20 * PAGE, 1, 0), 0);
	CHECK_EQ(differing(memory + 2 * HUGE + 30 * PAGE, HUGE - 30 * PAGE, 1,
			   2 * HUGE + 30 * PAGE), 0);
	if (flags & KZ_MOVE_DISCARD)
		CHECK_EQ(not_zero(start, length), 0);
	else
		CHECK_EQ(differing(memory, 3 * HUGE, 1, 0), 0);
	fill(memory, 3 * HUGE, 2);
	CHECK_EQ(file_differing(fd, offset, length, 1, HUGE - 20 * PAGE), 0);
	CHECK_EQ(differing(memory, 3 * HUGE, 2, 0), 0);
}

static void cut_huge(void)
{
	cut(0);
}

static void cut_huge_discarded(void)
{
	cut(KZ_MOVE_DISCARD);
}

static void forced(void)
{
	char *memory = map_huge(HUGE), *small = map_pages(LENGTH), *map;
	struct kz_range ranges[] = { range_of(memory, HUGE), range_of(small, LENGTH) };
	int fd = CHECK_OK(kz_create());
	struct kz_move account;
	uint64_t *frames;

	fill(memory, HUGE, 1);
	fill(small, LENGTH, 2);
	frames = frames_of(small, COUNT);
	CHECK_OK(kz_set_parameter("force_copy", 1));
	CHECK_OK(kz_move(fd, 0, ranges, 2, &account));
	CHECK_OK(kz_set_parameter("force_copy", 0));
	check_account(&account, 0, 512 + COUNT);
	CHECK_EQ(account.huge_pages, 0);
	map = map_file(fd, (off_t)ranges[1].offset, LENGTH);
	CHECK_EQ(same_frames(map, COUNT, frames), 0);
	CHECK_EQ(differing(map, LENGTH, 2, 0), 0);
	CHECK_EQ(differing(memory, HUGE, 1, 0), 0);
	CHECK_EQ(file_differing(fd, 0, HUGE, 1, 0), 0);
}

static const struct kz_case cases[] = {
	{ "a_childs", a_childs },
	{ "a_childs_huge", a_childs_huge },
	{ "a_childs_in_part", a_childs_in_part },
	{ "of_a_child_that_is_gone", of_a_child_that_is_gone },
	{ "a_parents", a_parents },
	{ "in_a_pipe", in_a_pipe },
	{ "huge_in_a_pipe", huge_in_a_pipe },
	{ "huge_held_for_a_moment", huge_held_for_a_moment },
	{ "registered_buffers", registered_buffers },
	{ "cut_huge", cut_huge },
	{ "cut_huge_discarded", cut_huge_discarded },
	{ "forced", forced },
};

KZ_MAIN(cases)
