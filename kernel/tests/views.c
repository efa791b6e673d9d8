// SPDX-License-Identifier: GPL-2.0
/* What becomes of moved memory: its owner's view is a private mapping of a file like any. */
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "kz_test.h"

/* Newer than Debian 12's headers */
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15)
#endif

#define LENGTH (8 * PAGE)

/* Moves memory; its bytes are of seed 1. */
static char *new_view(int *fd)
{
	char *memory = map_pages(LENGTH);

	*fd = CHECK_OK(kz_create());
	fill(memory, LENGTH, 1);
	CHECK_EQ(kz_move_one(*fd, 0, memory, LENGTH, NULL), 0);
	return memory;
}

static void check_file(int fd)
{
	CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
}

/* Whether /proc/self/smaps has a text in those lines about an address's mapping that begin so. */
static bool smaps_has(const void *address, const char *beginning, const char *text)
{
	FILE *file = fopen("/proc/self/smaps", "re");
	bool here = false, found = false;
	char line[512];

	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		uintptr_t from, to;

		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = (uintptr_t)address >= from && (uintptr_t)address < to;
		if (here && !strncmp(line, beginning, strlen(beginning)))
			found = found || strstr(line, text);
	}
	fclose(file);
	return found;
}

/* Whether the mapping of an address has a flag, by its two letters. */
static bool has_flag(const void *address, const char *flag)
{
	return smaps_has(address, "VmFlags:", flag);
}

static void unmapping_a_part(void)
{
	int fd;
	char *view = new_view(&fd);

	CHECK_OK(munmap(view + 3 * PAGE, 2 * PAGE));
	CHECK(!is_mapped(view + 3 * PAGE));
	CHECK_EQ(differing(view, 3 * PAGE, 1, 0), 0);
	CHECK_EQ(differing(view + 5 * PAGE, 3 * PAGE, 1, 5 * PAGE), 0);
	check_file(fd);
	CHECK_OK(munmap(view, LENGTH));
	check_file(fd);
}

static void remapping(void)
{
	int fd;
	char *view = new_view(&fd), *moved;

	view[0] ^= 1;
	moved = mremap(view, LENGTH, LENGTH, MREMAP_MAYMOVE | MREMAP_FIXED, map_pages(LENGTH));
	CHECK_OK(moved);
	CHECK(!is_mapped(view));
	moved[0] ^= 1;
	CHECK_EQ(differing(moved, LENGTH, 1, 0), 0);
	CHECK_OK(mremap(moved, LENGTH, 2 * PAGE, 0));
	CHECK_EQ(differing(moved, 2 * PAGE, 1, 0), 0);
	moved = mremap(moved, 2 * PAGE, 4 * LENGTH, MREMAP_MAYMOVE);
	CHECK_OK(moved);
	CHECK_EQ(differing(moved, LENGTH, 1, 0), 0);
	/* Nothing is behind the file's end. */
	CHECK(!is_readable(moved + LENGTH));
	check_file(fd);
}

static void protecting(void)
{
	int fd;
	char *view = new_view(&fd);

	CHECK_OK(mprotect(view, LENGTH, PROT_NONE));
	CHECK(!is_readable(view));
	CHECK_OK(mprotect(view, LENGTH, PROT_READ));
	CHECK_EQ(differing(view, LENGTH, 1, 0), 0);
	CHECK_OK(mprotect(view, LENGTH, PROT_READ | PROT_WRITE));
	memset(view, 3, LENGTH);
	check_file(fd);
}

/* Rights and what was advised before the move are the view's. */
static void kept(void)
{
	static const struct {
		int advice;
		const char *flag;
	} kept[] = {
		{ MADV_DONTFORK, " dc" }, { MADV_DONTDUMP, " dd" }, { MADV_SEQUENTIAL, " sr" },
		{ MADV_RANDOM, " rr" }, { MADV_HUGEPAGE, " hg" }, { MADV_NOHUGEPAGE, " nh" },
	};
	int fd = CHECK_OK(kz_create());
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kept); i++) {
		char *memory = map_pages(2 * PAGE);

		CHECK_OK(madvise(memory, 2 * PAGE, kept[i].advice));
		memory[0] = 1;
		CHECK_OK(mprotect(memory, 2 * PAGE, PROT_READ));
		CHECK_OK(kz_move_one(fd, 0, memory, 2 * PAGE, NULL));
		CHECK(has_flag(memory, kept[i].flag));
		CHECK(!has_flag(memory, " wr"));
	}
}

/* NumPy advises all of an array but the page that it begins in. */
static void advised_in_part(void)
{
	int fd = CHECK_OK(kz_create());
	char *memory = map_pages(4 * PAGE);

	fill(memory, 4 * PAGE, 1);
	CHECK_OK(madvise(memory + PAGE, 3 * PAGE, MADV_HUGEPAGE));
	CHECK_EQ(kz_move_one(fd, 0, memory, 4 * PAGE, NULL), 0);
	CHECK_EQ(differing(memory, 4 * PAGE, 1, 0), 0);
	CHECK(!has_flag(memory, " hg"));
	CHECK(!has_flag(memory, " nh"));
	memory = map_pages(4 * PAGE);
	fill(memory, 4 * PAGE, 2);
	CHECK_OK(madvise(memory + PAGE, 3 * PAGE, MADV_HUGEPAGE));
	CHECK_OK(kz_move_one(fd, KZ_MOVE_EDGES, memory + 16, 4 * PAGE - 32, NULL));
	CHECK_EQ(differing(memory, 4 * PAGE, 2, 0), 0);
	CHECK(has_flag(memory + PAGE, " hg"));
	/* What isn't a mere hint must not get lost. */
	memory = map_pages(4 * PAGE);
	CHECK_OK(madvise(memory + PAGE, 3 * PAGE, MADV_DONTFORK));
	CHECK_ERRNO(kz_move_one(fd, 0, memory, 4 * PAGE, NULL), EOPNOTSUPP);
}

/* The kernel would merge the second view with the first, behind which it lies in the file, too. */
static void kept_beside_another(void)
{
	char *memory = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);
	int fd = CHECK_OK(kz_create());

	CHECK_OK(memory);
	fill(memory, 4 * PAGE, 1);
	CHECK_OK(madvise(memory + 2 * PAGE, PAGE, MADV_DONTFORK));
	CHECK_EQ(kz_move_one(fd, 0, memory, 2 * PAGE, NULL), 0);
	CHECK_EQ(kz_move_one(fd, 0, memory + 2 * PAGE, PAGE, NULL), 2 * PAGE);
	CHECK_EQ(kz_move_one(fd, 0, memory + 3 * PAGE, PAGE, NULL), 3 * PAGE);
	CHECK(!has_flag(memory, " dc"));
	CHECK(has_flag(memory + 2 * PAGE, " dc"));
	CHECK(!has_flag(memory + 3 * PAGE, " dc"));
	CHECK_EQ(differing(memory, 4 * PAGE, 1, 0), 0);
}

/* What the view, as a file's mapping, can't have or isn't given. */
static void not_kept(void)
{
	char *memory = map_pages(2 * PAGE);
	int fd = CHECK_OK(kz_create());

	memory[0] = 1;
	if (madvise(memory, 2 * PAGE, MADV_MERGEABLE))
		kz_skip("the kernel has no KSM");
	CHECK(has_flag(memory, " mg"));
	CHECK_EQ(kz_move_one(fd, 0, memory, 2 * PAGE, NULL), 0);
	CHECK(!has_flag(memory, " mg"));
}

static int numa_policy_of(const void *address)
{
	int policy = -1;

	CHECK_OK(syscall(SYS_get_mempolicy, &policy, NULL, 0UL, address, MPOL_F_ADDR));
	return policy;
}

static void numa_policy_not_kept(void)
{
	unsigned long first_node = 1;
	char *memory = map_pages(LENGTH);
	int fd = CHECK_OK(kz_create());

	if (syscall(SYS_mbind, memory, LENGTH, MPOL_BIND, &first_node, 8 * sizeof(first_node),
		    0) && errno == ENOSYS)
		kz_skip("the kernel has no NUMA policies");
	fill(memory, LENGTH, 1);
	CHECK_EQ(numa_policy_of(memory), MPOL_BIND);
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH / 2, NULL), 0);
	CHECK_EQ(numa_policy_of(memory), MPOL_DEFAULT);
	CHECK_EQ(numa_policy_of(memory + LENGTH / 2), MPOL_BIND);
	CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
}

static void name_not_kept(void)
{
	char *memory = map_pages(LENGTH);
	int fd = CHECK_OK(kz_create());

	if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, memory, LENGTH, "buffer"))
		kz_skip("the kernel has no names for memory");
	fill(memory, LENGTH, 1);
	CHECK(smaps_has(memory, "", "[anon:buffer]"));
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
	CHECK(!smaps_has(memory, "", "[anon:buffer]"));
	CHECK_EQ(differing(memory, LENGTH, 1, 0), 0);
}

static void code_goes_on(void)
{
	static const unsigned char code[] = { 0xb8, 0x2a, 0, 0, 0, 0xc3 }; /* mov $42, %eax; ret */
	char *memory = map_pages(PAGE);
	int fd = CHECK_OK(kz_create());

	memcpy(memory, code, sizeof(code));
	CHECK_OK(mprotect(memory, PAGE, PROT_READ | PROT_EXEC));
	CHECK_EQ(((int (*)(void))memory)(), 42);
	CHECK_EQ(kz_move_one(fd, 0, memory, PAGE, NULL), 0);
	CHECK_EQ(((int (*)(void))memory)(), 42);
	CHECK(!has_flag(memory, " wr"));
}

static void dont_need(void)
{
	int fd;
	char *view = new_view(&fd);

	memset(view + PAGE, 3, 2 * PAGE);
	CHECK_OK(madvise(view, LENGTH, MADV_DONTNEED));
	CHECK_EQ(differing(view, LENGTH, 1, 0), 0);
	check_file(fd);
}

static void other_advice(void)
{
	int fd;
	char *view = new_view(&fd);

	CHECK_ERRNO(madvise(view, LENGTH, MADV_FREE), EINVAL);
	CHECK_ERRNO(madvise(view, LENGTH, MADV_WIPEONFORK), EINVAL);
	CHECK_EQ(madvise(view, LENGTH, MADV_REMOVE), -1);
	CHECK_OK(madvise(view, LENGTH, MADV_POPULATE_READ));
	CHECK_OK(madvise(view, LENGTH, MADV_COLD));
	CHECK_OK(madvise(view, LENGTH, MADV_WILLNEED));
	CHECK_OK(mlock(view, LENGTH));
	CHECK_EQ(differing(view, LENGTH, 1, 0), 0);
	CHECK_OK(munlock(view, LENGTH));
	check_file(fd);
}

/* The kernel may make a huge page of the file's small ones. */
static void collapsing(void)
{
	char *memory = map_huge(HUGE), *map;
	int fd = CHECK_OK(kz_create());

	CHECK_OK(munmap(memory, HUGE));
	CHECK_EQ(mmap(memory, HUGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), memory);
	CHECK_OK(madvise(memory, HUGE, MADV_NOHUGEPAGE));
	fill(memory, HUGE, 1);
	CHECK_EQ(kz_move_one(fd, 0, memory, HUGE, NULL), 0);
	map = mmap(memory, HUGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
	CHECK_OK(map);
	if (!madvise(map, HUGE, MADV_COLLAPSE))
		CHECK(is_huge(map));
	CHECK_EQ(differing(map, HUGE, 1, 0), 0);
	CHECK_EQ(file_differing(fd, 0, HUGE, 1, 0), 0);
}

static void userfaultfd(void)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register registration = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int fd, faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	char *view = new_view(&fd);

	if (faults == -1)
		kz_skip("the kernel has no userfaultfd");
	CHECK_OK(ioctl(faults, UFFDIO_API, &api));
	registration.range.start = (uintptr_t)view;
	registration.range.len = LENGTH;
	CHECK_EQ(ioctl(faults, UFFDIO_REGISTER, &registration), -1);
	registration.mode = UFFDIO_REGISTER_MODE_WP;
	CHECK_EQ(ioctl(faults, UFFDIO_REGISTER, &registration), -1);
	CHECK_EQ(differing(view, LENGTH, 1, 0), 0);
}

/* Newer kernels note in any memory what has been written to since. */
static void noted_by_userfaultfd(void)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_WP_ASYNC };
	struct uffdio_register registration = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect protect = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	struct uffdio_copy copy = { .len = PAGE };
	int fd, faults = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	char *view = new_view(&fd), *page = map_pages(PAGE);

	if (faults == -1 || ioctl(faults, UFFDIO_API, &api))
		kz_skip("the kernel's userfaultfd notes no writes");
	registration.range.start = protect.range.start = (uintptr_t)view;
	registration.range.len = protect.range.len = LENGTH;
	CHECK_OK(ioctl(faults, UFFDIO_REGISTER, &registration));
	CHECK_OK(ioctl(faults, UFFDIO_WRITEPROTECT, &protect));
	memset(view, 2, PAGE);
	CHECK_EQ(differing(view + PAGE, LENGTH - PAGE, 1, PAGE), 0);
	CHECK_OK(madvise(view + PAGE, PAGE, MADV_DONTNEED));
	copy.dst = (uintptr_t)view + PAGE;
	copy.src = (uintptr_t)page;
	CHECK_EQ(ioctl(faults, UFFDIO_COPY, &copy), -1);
	CHECK_EQ(differing(view + PAGE, LENGTH - PAGE, 1, PAGE), 0);
	CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
}

/* Waiting has a limit. */
static int futex(uint32_t *word, int operation, uint32_t value)
{
	struct timespec limit = { .tv_sec = 60 * kz_slowness };

	return (int)syscall(SYS_futex, word, operation, value, &limit, NULL, 0);
}

struct waiter {
	uint32_t *word;
	int flags;
	pid_t thread;
	int result;
};

static void *wait_for_wake(void *argument)
{
	struct waiter *waiter = argument;

	__atomic_store_n(&waiter->thread, gettid(), __ATOMIC_RELEASE);
	waiter->result = futex(waiter->word, FUTEX_WAIT | waiter->flags, 7);
	return NULL;
}

/* Whether a thread sleeps in futex(). */
static bool is_waiting(struct waiter *waiter)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/self/task/%d/syscall",
		 __atomic_load_n(&waiter->thread, __ATOMIC_ACQUIRE));
	return !access(path, R_OK) && read_number(path) == SYS_futex;
}

/* A thread waits on memory that moves, and is woken; how many pages of the view that has copied. */
static uint64_t wake_after_move(int flags)
{
	char *memory = map_pages(LENGTH);
	struct waiter waiter = { .word = (uint32_t *)memory, .flags = flags };
	struct kz_extent extent = { .addr = (uintptr_t)memory, .length = LENGTH };
	int fd = CHECK_OK(kz_create());
	pthread_t thread;

	*waiter.word = 7;
	CHECK_EQ(pthread_create(&thread, NULL, wait_for_wake, &waiter), 0);
	CHECK_SOON(is_waiting(&waiter));
	CHECK_EQ(kz_move_one(fd, 0, memory, LENGTH, NULL), 0);
	CHECK(is_waiting(&waiter));
	CHECK_EQ(futex(waiter.word, FUTEX_WAKE | flags, 1), 1);
	CHECK_EQ(pthread_join(thread, NULL), 0);
	CHECK_EQ(waiter.result, 0);
	CHECK_EQ(kz_query(&extent, 1), 1);
	return extent.changed_pages;
}

static void private_futex(void)
{
	CHECK_EQ(wake_after_move(FUTEX_PRIVATE_FLAG), 0);
}

/* The kernel looks for who waits as if the word were to be written to. */
static void shared_futex(void)
{
	CHECK_EQ(wake_after_move(0), 1);
}

static void compaction(void)
{
	int fd, i;
	char *view = new_view(&fd), *map = map_file(fd, 0, LENGTH);

	for (i = 0; i < 3; i++) {
		CHECK_OK(write_text("/proc/sys/vm/compact_memory", "1"));
		CHECK_EQ(differing(view, LENGTH, 1, 0), 0);
		CHECK_EQ(differing(map, LENGTH, 1, 0), 0);
	}
	check_file(fd);
}

static const struct kz_case cases[] = {
	{ "unmapping_a_part", unmapping_a_part },
	{ "remapping", remapping },
	{ "protecting", protecting },
	{ "kept", kept },
	{ "advised_in_part", advised_in_part },
	{ "kept_beside_another", kept_beside_another },
	{ "not_kept", not_kept },
	{ "numa_policy_not_kept", numa_policy_not_kept },
	{ "name_not_kept", name_not_kept },
	{ "code_goes_on", code_goes_on },
	{ "dont_need", dont_need },
	{ "other_advice", other_advice },
	{ "collapsing", collapsing },
	{ "userfaultfd", userfaultfd },
	{ "noted_by_userfaultfd", noted_by_userfaultfd },
	{ "private_futex", private_futex },
	{ "shared_futex", shared_futex },
	{ "compaction", compaction },
};

KZ_MAIN(cases)
