// SPDX-License-Identifier: GPL-2.0
/* Workers whose threads do anything to the same memory. */
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fuzz.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define ARENA (24 * HUGE)
#define FILES 4
#define MAX_RANGES 6
#define WATCHED_PAGES 8192

/* A file, and what each of its pages was when it was first read. */
struct watched {
	pthread_mutex_t lock;
	int fd;
	uint64_t sum[WATCHED_PAGES];
};

struct wild {
	uint64_t random;
	double end;
	int pipe_ends[2];
};

static char *arena;
static struct watched files[FILES];
static __thread sigjmp_buf fault;
static __thread volatile sig_atomic_t may_fault;

static void on_fault(int signal)
{
	if (may_fault)
		siglongjmp(fault, 1);
	FAIL("%s", strsignal(signal));
}

static void on_nudge(int signal)
{
	(void)signal;
}

/* Copies; false if there is no memory. */
static bool try_copy(void *to, const void *from, size_t length)
{
	bool copied = false;

	may_fault = true;
	if (!sigsetjmp(fault, 1)) {
		memcpy(to, from, length);
		copied = true;
	}
	may_fault = false;
	return copied;
}

/* Some of the arena: often whole huge pages, or where they begin. */
static char *somewhere(struct wild *wild, size_t *length)
{
	size_t first, pages = ARENA / PAGE;

	if (one_in(&wild->random, 2)) {
		first = below(&wild->random, ARENA / HUGE) * (HUGE / PAGE);
		*length = one_in(&wild->random, 2) ? HUGE : (1 + below(&wild->random, 600)) * PAGE;
	} else {
		first = below(&wild->random, pages);
		*length = (1 + below(&wild->random, 40)) * PAGE;
	}
	if (*length > (pages - first) * PAGE)
		*length = (pages - first) * PAGE;
	return arena + first * PAGE;
}

/* Memory */

static void map(struct wild *wild)
{
	static const int more[] = { 0, 0, 0, 0, MAP_POPULATE, MAP_LOCKED, MAP_GROWSDOWN,
				    MAP_NORESERVE, MAP_HUGETLB };
	int prot = one_in(&wild->random, 8) ? (int)below(&wild->random, 8) : PROT_READ | PROT_WRITE;
	int flags = MAP_FIXED | more[below(&wild->random, ARRAY_SIZE(more))], fd = -1;
	size_t what = below(&wild->random, 16), length;
	char *start = somewhere(wild, &length);
	off_t offset = 0;

	if (what == 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (what == 1 || what == 2) {
		fd = fcntl(files[below(&wild->random, FILES)].fd, F_DUPFD_CLOEXEC, 0);
		offset = (off_t)(below(&wild->random, 1024) * PAGE);
	}
	if (what == 0 && fd != -1)
		(void)!ftruncate(fd, (off_t)length);
	flags |= one_in(&wild->random, what < 3 ? 2 : 10) ? MAP_SHARED : MAP_PRIVATE;
	mmap(start, length, prot, flags | (fd == -1 ? MAP_ANONYMOUS : 0), fd, offset);
	if (fd != -1)
		close(fd);
	if (one_in(&wild->random, 2))
		madvise(start, length, MADV_HUGEPAGE);
}

static void touch(struct wild *wild)
{
	size_t length, at;
	char *start = somewhere(wild, &length);
	uint64_t word = kz_random(&wild->random);
	bool write = one_in(&wild->random, 2);

	for (at = 0; at < length; at += PAGE) {
		char *address = start + at + (word >> 20) % (PAGE - 8);

		if (!(write ? try_copy(address, &word, 8) : try_copy(&word, address, 8)))
			break;
	}
}

static void advise(struct wild *wild)
{
	static const int advice[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED,
		MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_DONTFORK, MADV_DOFORK, MADV_MERGEABLE,
		MADV_UNMERGEABLE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_WIPEONFORK,
		MADV_KEEPONFORK, MADV_COLD, MADV_PAGEOUT, MADV_PAGEOUT, MADV_POPULATE_READ,
		MADV_POPULATE_WRITE, MADV_COLLAPSE, MADV_COLLAPSE,
	};
	size_t length;
	char *start = somewhere(wild, &length);

	madvise(start, length, advice[below(&wild->random, ARRAY_SIZE(advice))]);
}

static void remap(struct wild *wild)
{
	static const int flags[] = { MREMAP_FIXED, MREMAP_FIXED, MREMAP_FIXED | MREMAP_DONTUNMAP };
	size_t length, other;
	char *from = somewhere(wild, &length), *to = somewhere(wild, &other);
	int how = flags[below(&wild->random, ARRAY_SIZE(flags))];

	mremap(from, length, how & MREMAP_DONTUNMAP ? length : other, MREMAP_MAYMOVE | how, to);
}

/* Faults there are signals then: nobody would handle them. */
static void userfault(struct wild *wild)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_SIGBUS };
	struct uffdio_register part = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	size_t length;

	part.range.start = (uintptr_t)somewhere(wild, &length);
	part.range.len = length;
	if (fd == -1)
		return;
	if (!ioctl(fd, UFFDIO_API, &api))
		ioctl(fd, UFFDIO_REGISTER, &part);
	kz_sleep_ms(1);
	close(fd);
}

static void lock(struct wild *wild)
{
	size_t length;
	char *start = somewhere(wild, &length);

	if (one_in(&wild->random, 8)) {
		mlockall(MCL_FUTURE);
		kz_sleep_ms(1);
		munlockall();
	} else if (one_in(&wild->random, 2)) {
		mlock2(start, length, one_in(&wild->random, 2) ? MLOCK_ONFAULT : 0);
	} else {
		munlock(start, length);
	}
}

/* Others who hold pages, or look at memory with the kernel's eyes. */
static void borrow(struct wild *wild)
{
	static __thread char buffer[16 * PAGE];
	size_t length;
	char *start = somewhere(wild, &length);
	struct iovec there = { start, length }, here = { buffer, sizeof(buffer) };
	size_t what = below(&wild->random, 5);

	if (there.iov_len > sizeof(buffer))
		there.iov_len = sizeof(buffer);
	if (what == 0)
		(void)!vmsplice(wild->pipe_ends[1], &there, 1, SPLICE_F_NONBLOCK);
	else if (what == 1)
		(void)!read(wild->pipe_ends[0], start, length);
	else if (what == 2)
		process_vm_readv(getpid(), &here, 1, &there, 1, 0);
	else if (what == 3)
		process_vm_writev(getpid(), &here, 1, &there, 1, 0);
	else
		splice(files[below(&wild->random, FILES)].fd, NULL, wild->pipe_ends[1], NULL,
		       length, SPLICE_F_NONBLOCK);
}

/* The calls */

static bool is_documented(int error)
{
	static const int errors[] = { EINVAL, EOVERFLOW, E2BIG, EFAULT, EBADF, EPERM, ENOMEM,
				      EOPNOTSUPP, EINTR, EDQUOT, EAGAIN };
	size_t i;

	for (i = 0; i < ARRAY_SIZE(errors); i++)
		if (error == errors[i])
			return true;
	return false;
}

static struct kz_range random_range(struct wild *wild, bool edges, bool fresh)
{
	static const uint64_t odd[] = { 0, 1, 4095, 1ULL << 47, -4096ULL, ~0ULL, 1ULL << 63 };
	size_t length;
	char *start = somewhere(wild, &length);
	struct kz_range range = range_of(start, length);

	/* Most memory of the arena is of no use, after a while. */
	if (fresh && one_in(&wild->random, 2))
		mmap(start, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		     -1, 0);
	if (edges) {
		range.addr += below(&wild->random, PAGE);
		range.length -= below(&wild->random, PAGE);
	}
	if (one_in(&wild->random, 50))
		range.addr = odd[below(&wild->random, ARRAY_SIZE(odd))];
	if (one_in(&wild->random, 50))
		range.length = odd[below(&wild->random, ARRAY_SIZE(odd))];
	if (one_in(&wild->random, 100))
		range.reserved = kz_random(&wild->random);
	return range;
}

static void move(struct wild *wild)
{
	static const unsigned int all_flags[] = { 0, 0, 0, KZ_MOVE_UNMAP, KZ_MOVE_EDGES,
						  KZ_MOVE_EDGES | KZ_MOVE_UNMAP, 8, ~0U };
	struct kz_range own[MAX_RANGES], *ranges = own;
	struct kz_move own_move, *header = &own_move, move = {
		.size = sizeof(move), .fd = files[below(&wild->random, FILES)].fd,
		.nr_ranges = 1 + (uint32_t)below(&wild->random, one_in(&wild->random, 4) ? MAX_RANGES : 2),
		.flags = all_flags[below(&wild->random, ARRAY_SIZE(all_flags))],
	};
	size_t length;
	uint32_t i;

	for (i = 0; i < move.nr_ranges; i++)
		own[i] = random_range(wild, move.flags & KZ_MOVE_EDGES, true);
	/* The structs may lie where anything can happen to them. */
	if (one_in(&wild->random, 10))
		ranges = (void *)(somewhere(wild, &length) + below(&wild->random, PAGE));
	if (one_in(&wild->random, 10))
		header = (void *)(somewhere(wild, &length) + below(&wild->random, PAGE));
	move.ranges = (uintptr_t)ranges;
	if (one_in(&wild->random, 40))
		move.size = (uint32_t)below(&wild->random, 5000);
	if (one_in(&wild->random, 40))
		move.nr_ranges = (uint32_t)kz_random(&wild->random);
	if (one_in(&wild->random, 40))
		move.fd = (int)below(&wild->random, 64) - 8;
	if (!try_copy(ranges, own, sizeof(own)) || !try_copy(header, &move, sizeof(move)))
		return;
	if (one_in(&wild->random, 4))
		fail_allocation(1 + (unsigned int)below(&wild->random, 80));
	fuzz_counts->calls++;
	if (ioctl(kz_device(), KZ_MOVE, header)) {
		if (errno == ENOMEM)
			fuzz_counts->failed++;
		else
			fuzz_counts->refused++;
		if (!is_documented(errno))
			kz_fail(__FILE__, __LINE__, errno, "KZ_MOVE");
	}
	fail_allocation(0);
	if (header == &own_move && own_move.done <= MAX_RANGES) {
		fuzz_counts->moved += own_move.moved_pages;
		fuzz_counts->huge += own_move.huge_pages;
		fuzz_counts->copied += own_move.copied_pages;
	}
}

static void query(struct wild *wild)
{
	struct kz_extent extents[MAX_RANGES];
	size_t i;

	for (i = 0; i < MAX_RANGES; i++) {
		struct kz_range range = random_range(wild, true, false);

		extents[i] = (struct kz_extent){ .addr = range.addr, .length = range.length };
	}
	fuzz_counts->queries++;
	if (kz_query(extents, MAX_RANGES) == -1 && !is_documented(errno))
		kz_fail(__FILE__, __LINE__, errno, "KZ_QUERY");
}

/* Any command, with anything. */
static void noise(struct wild *wild)
{
	uint64_t words[16];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = one_in(&wild->random, 2) ? below(&wild->random, 64) :
			   kz_random(&wild->random);
	ioctl(kz_device(), _IOC(3, 'Z', 0x3f + below(&wild->random, 6), below(&wild->random, 128)),
	      one_in(&wild->random, 8) ? (void *)kz_random(&wild->random) : words);
}

/* Files */

static uint64_t sum_of(const char *page)
{
	uint64_t sum = 1, word;
	size_t at;

	for (at = 0; at < PAGE; at += sizeof(word)) {
		memcpy(&word, page + at, sizeof(word));
		sum = (sum ^ word) * 0x9e3779b97f4a7c15ULL;
	}
	return sum | 1;
}

/* Pages of a file that can be read never change. */
static void watch(struct wild *wild)
{
	struct watched *file = files + below(&wild->random, FILES);
	static __thread char content[64 * PAGE];
	ssize_t got;
	size_t first, i;

	pthread_mutex_lock(&file->lock);
	first = below(&wild->random, (size_t)lseek(file->fd, 0, SEEK_END) / PAGE + 1);
	got = pread(file->fd, content, sizeof(content), (off_t)(first * PAGE));
	for (i = 0; (ssize_t)((i + 1) * PAGE) <= got && first + i < WATCHED_PAGES; i++) {
		uint64_t sum = sum_of(content + i * PAGE);

		if (file->sum[first + i] && file->sum[first + i] != sum)
			FAIL("page %zu of a file has changed", first + i);
		file->sum[first + i] = sum;
		fuzz_counts->checked++;
	}
	pthread_mutex_unlock(&file->lock);
}

static void change_file(struct wild *wild)
{
	struct watched *file = files + below(&wild->random, FILES);

	pthread_mutex_lock(&file->lock);
	close(file->fd);
	memset(file->sum, 0, sizeof(file->sum));
	file->fd = fuzz_create();
	pthread_mutex_unlock(&file->lock);
}

/* Life */

static void fork_child(struct wild *wild)
{
	pid_t child = kz_fork();
	int i;

	fuzz_counts->forks++;
	if (child) {
		reap(child);
		return;
	}
	/* What it does to its memory, and tries to do to its parent's files. */
	kz_device(); /* opens it anew, before an allocation is told to fail */
	for (i = 0; i < 5; i++) {
		touch(wild);
		advise(wild);
		move(wild);
	}
	_exit(EXIT_SUCCESS);
}

static void step(struct wild *wild)
{
	static void (*const steps[])(struct wild *wild) = {
		map, map, map, touch, touch, touch, touch, advise, advise, advise, remap, userfault,
		lock, borrow, borrow, move, move, move, move, move, move, query, noise, watch,
	};
	size_t what = below(&wild->random, 400), length;
	char *start = somewhere(wild, &length);

	fuzz_counts->ops++;
	if (what == 0)
		fork_child(wild);
	else if (what < 4)
		change_file(wild);
	else if (what < 12)
		munmap(start, length);
	else if (what < 30)
		mprotect(start, length, (int)below(&wild->random, 8));
	else
		steps[below(&wild->random, ARRAY_SIZE(steps))](wild);
}

static void *live(void *argument)
{
	struct wild *wild = argument;

	CHECK_OK(pipe2(wild->pipe_ends, O_CLOEXEC | O_NONBLOCK));
	while (fuzz_now() < wild->end)
		step(wild);
	return NULL;
}

void fuzz_wild(uint64_t seed, double seconds)
{
	struct sigaction faulted = { .sa_handler = on_fault, .sa_flags = SA_NODEFER };
	struct sigaction nudged = { .sa_handler = on_nudge };
	static struct wild wild[FUZZ_THREADS];
	pthread_t threads[FUZZ_THREADS];
	size_t i;

	CHECK_OK(sigaction(SIGSEGV, &faulted, NULL));
	CHECK_OK(sigaction(SIGBUS, &faulted, NULL));
	CHECK_OK(sigaction(SIGUSR1, &nudged, NULL));
	arena = map_aligned(ARENA, HUGE);
	for (i = 0; i < FILES; i++) {
		pthread_mutex_init(&files[i].lock, NULL);
		files[i].fd = fuzz_create();
	}
	for (i = 0; i < FUZZ_THREADS; i++) {
		wild[i] = (struct wild){ .random = seed + i, .end = fuzz_now() + seconds };
		CHECK_EQ(pthread_create(threads + i, NULL, live, wild + i), 0);
	}
	/* Signals meet whatever waits. */
	while (fuzz_now() < wild[0].end) {
		for (i = 0; i < FUZZ_THREADS; i++)
			pthread_kill(threads[i], SIGUSR1);
		kz_sleep_ms(5);
	}
	for (i = 0; i < FUZZ_THREADS; i++)
		pthread_join(threads[i], NULL);
	_exit(EXIT_SUCCESS);
}
