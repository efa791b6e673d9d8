// SPDX-License-Identifier: GPL-2.0
/* Memory of every kind that KZ_MOVE refuses: nothing moves, the good ranges beside it neither. */
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kz_test.h"

#define SYS_MAP_SHADOW_STACK 453
#define SYS_MSEAL 462

/*
 * Each of these makes a piece of memory that doesn't move, of at least a page; NULL if the kernel
 * has none.
 */
static char *map(size_t length, int protection, int flags, int fd)
{
	return (char *)CHECK_OK(mmap(NULL, length, protection, flags, fd, 0));
}

static char *shared_anonymous(size_t *length)
{
	return map(*length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
}

static char *private_memfd(size_t *length)
{
	int fd = CHECK_OK(memfd_create("other", 0));

	CHECK_OK(ftruncate(fd, (off_t)*length));
	return map(*length, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
}

/* Pages of its own don't make a file's mapping anonymous. */
static char *changed_private_file(size_t *length)
{
	char *memory = map(*length, PROT_READ | PROT_WRITE, MAP_PRIVATE,
			   (int)CHECK_OK(open("/proc/self/exe", O_RDONLY)));

	fill(memory, *length, 9);
	return memory;
}

static char *view_of_moved(size_t *length)
{
	char *memory = map_pages(*length);

	fill(memory, *length, 9);
	CHECK_EQ(kz_move_one((int)CHECK_OK(kz_create()), 0, memory, *length, NULL), 0);
	/* Nor does writing to it turn it back. */
	fill(memory, *length, 10);
	return memory;
}

static char *hugetlb(size_t *length)
{
	char *memory;

	CHECK_OK(write_text("/proc/sys/vm/nr_hugepages", "2"));
	*length = HUGE;
	memory = mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	if (memory == MAP_FAILED)
		return NULL;
	*memory = 1;
	return memory;
}

/* The kernel's own pages, in a mapping without a handler. */
static char *device(size_t *length)
{
	struct io_uring_params parameters = {};
	int fd = (int)syscall(SYS_io_uring_setup, 8, &parameters);

	return fd == -1 ? NULL : map(*length = PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
}

static char *vdso(size_t *length)
{
	*length = PAGE;
	return (char *)getauxval(AT_SYSINFO_EHDR);
}

static char *locked(size_t *length)
{
	char *memory = map_pages(*length);

	CHECK_OK(mlock(memory, *length));
	return memory;
}

static char *locked_on_fault(size_t *length)
{
	char *memory = map_pages(*length);

	CHECK_OK(mlock2(memory, *length, MLOCK_ONFAULT));
	return memory;
}

static char *with_rights(size_t *length, int protection)
{
	char *memory = map_pages(*length);

	fill(memory, *length, 9);
	CHECK_OK(mprotect(memory, *length, protection));
	return memory;
}

static char *not_readable(size_t *length)
{
	return with_rights(length, PROT_NONE);
}

static char *writable_only(size_t *length)
{
	return with_rights(length, PROT_WRITE);
}

static char *executable_only(size_t *length)
{
	return with_rights(length, PROT_EXEC);
}

static char *growing(size_t *length)
{
	return map(*length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN,
		   -1);
}

/* A page of it so deep down that nothing happens there. */
static char *main_stack(size_t *length)
{
	uintptr_t deep = ((uintptr_t)__builtin_frame_address(0) - 64 * PAGE) & -PAGE;

	*length = PAGE;
	*(volatile char *)deep = 1;
	return (char *)deep;
}

static char *wiped_on_fork(size_t *length)
{
	char *memory = map_pages(*length);

	CHECK_OK(madvise(memory, *length, MADV_WIPEONFORK));
	return memory;
}

static char *with_protection_key(size_t *length)
{
	char *memory = map_pages(*length);
	int key = pkey_alloc(0, 0);

	if (key == -1)
		return NULL;
	CHECK_OK(pkey_mprotect(memory, *length, PROT_READ | PROT_WRITE, key));
	return memory;
}

/* Memory that the kernel may throw away; since Linux 6.11. */
static char *droppable(size_t *length)
{
	char *memory = mmap(NULL, *length, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | 8, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

/* Since Linux 6.6, if the processor has them. */
static char *shadow_stack(size_t *length)
{
	long memory = syscall(SYS_MAP_SHADOW_STACK, 0UL, *length, 0);

	return memory == -1 ? NULL : (char *)memory;
}

static void register_userfaultfd(char *memory, size_t length)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register registration = {
		.range = { .start = (uintptr_t)memory, .len = length },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd == -1 && errno == ENOSYS)
		kz_skip("the kernel has no userfaultfd");
	CHECK_OK(fd);
	CHECK_OK(ioctl(fd, UFFDIO_API, &api));
	CHECK_OK(ioctl(fd, UFFDIO_REGISTER, &registration));
}

static char *with_userfaultfd(size_t *length)
{
	char *memory = map_pages(*length);

	fill(memory, *length, 9);
	register_userfaultfd(memory, *length);
	return memory;
}

/* The memory lies between two ranges that could move. */
static void refuse(char *(*make)(size_t *length))
{
	size_t length = 4 * PAGE;
	char *memory = make(&length), *good = map_pages(8 * PAGE);
	unsigned int flags;
	int fd = CHECK_OK(kz_create());

	if (!memory)
		kz_skip("the kernel has no such memory");
	fill(good, 8 * PAGE, 1);
	for (flags = 0; flags < 4; flags++) {
		struct kz_range ranges[] = {
			range_of(good, 2 * PAGE),
			range_of(memory, length),
			range_of(good + 4 * PAGE, 4 * PAGE),
		};
		struct kz_snapshot *bad = take_snapshot(memory, length, fd);
		struct kz_snapshot *rest = take_snapshot(good, 8 * PAGE, fd);
		struct kz_move account;

		CHECK_ERRNO(kz_move(fd, flags, ranges, 3, &account), EOPNOTSUPP);
		CHECK_EQ(account.done, 0);
		CHECK_UNCHANGED(rest);
		CHECK_UNCHANGED(bad);
		/* Not a byte of it can be had as an edge either. */
		ranges[1] = range_of(memory + 10, 20);
		CHECK_ERRNO(kz_move(fd, flags | KZ_MOVE_EDGES, ranges, 3, NULL), EOPNOTSUPP);
	}
	CHECK_EQ(differing(good, 8 * PAGE, 1, 0), 0);
	CHECK_EQ(kz_move_one(fd, 0, good, 8 * PAGE, NULL), 0);
}

#define REFUSED(kind) static void refuse_##kind(void) { refuse(kind); }

REFUSED(shared_anonymous)
REFUSED(private_memfd)
REFUSED(changed_private_file)
REFUSED(view_of_moved)
REFUSED(device)
REFUSED(vdso)
REFUSED(locked)
REFUSED(locked_on_fault)
REFUSED(not_readable)
REFUSED(writable_only)
REFUSED(executable_only)
REFUSED(growing)
REFUSED(main_stack)
REFUSED(wiped_on_fork)
REFUSED(droppable)
REFUSED(shadow_stack)
REFUSED(with_protection_key)
REFUSED(with_userfaultfd)

static void refuse_hugetlb(void)
{
	pid_t child = kz_fork();
	int status;

	if (!child) {
		refuse(hugetlb);
		_exit(0);
	}
	status = kz_wait(child);
	CHECK_OK(write_text("/proc/sys/vm/nr_hugepages", "0"));
	if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED)
		_exit(EXIT_SKIPPED);
	CHECK_EQ(status, 0);
}

/* What is locked from now on would have to be filled before its gate opens. */
static void mlockall_future(void)
{
	char *memory = map_pages(4 * PAGE);
	int fd = CHECK_OK(kz_create());
	struct kz_snapshot *before;

	fill(memory, 4 * PAGE, 1);
	CHECK_OK(mlockall(MCL_FUTURE));
	before = take_snapshot(memory, 4 * PAGE, fd);
	CHECK_ERRNO(kz_move_one(fd, 0, memory, 4 * PAGE, NULL), EOPNOTSUPP);
	CHECK_ERRNO(kz_move_one(fd, KZ_MOVE_UNMAP, memory, 4 * PAGE, NULL), EOPNOTSUPP);
	CHECK_UNCHANGED(before);
	CHECK_OK(munlockall());
	CHECK_EQ(kz_move_one(fd, 0, memory, 4 * PAGE, NULL), 0);
	CHECK_EQ(differing(memory, 4 * PAGE, 1, 0), 0);
}

/* That a mapping must not change, since Linux 6.10, is found before anything moves. */
static void sealed(void)
{
	char *memory = map_pages(8 * PAGE);
	struct kz_range ranges[] = { range_of(memory, 4 * PAGE),
				     range_of(memory + 4 * PAGE, 4 * PAGE) };
	int fd = CHECK_OK(kz_create());
	struct kz_snapshot *before;
	struct kz_move account;

	fill(memory, 8 * PAGE, 1);
	if (syscall(SYS_MSEAL, memory + 4 * PAGE, 4 * PAGE, 0))
		kz_skip("the kernel has no mseal");
	before = take_snapshot(memory + 4 * PAGE, 4 * PAGE, -1);
	CHECK_ERRNO(kz_move(fd, 0, ranges + 1, 1, NULL), EPERM);
	CHECK_ERRNO(kz_move(fd, KZ_MOVE_UNMAP, ranges + 1, 1, NULL), EPERM);
	CHECK_ERRNO(kz_move(fd, KZ_MOVE_DISCARD, ranges + 1, 1, NULL), EPERM);
	CHECK_UNCHANGED(before);
	CHECK_ERRNO(kz_move(fd, 0, ranges, 2, &account), EPERM);
	CHECK_EQ(account.done, 0);
	CHECK_EQ(account.file_size, 0);
	CHECK_EQ(differing(memory, 8 * PAGE, 1, 0), 0);
}

static void userfaultfd_elsewhere(void)
{
	char *memory = map_pages(4 * PAGE);
	int fd = CHECK_OK(kz_create());

	fill(memory, 4 * PAGE, 1);
	register_userfaultfd(map_pages(PAGE), PAGE);
	CHECK_EQ(kz_move_one(fd, 0, memory, 4 * PAGE, NULL), 0);
	CHECK_EQ(differing(memory, 4 * PAGE, 1, 0), 0);
	CHECK_EQ(file_differing(fd, 0, 4 * PAGE, 1, 0), 0);
}

#define CASE(kind) { #kind, refuse_##kind }

static const struct kz_case cases[] = {
	CASE(shared_anonymous),
	CASE(private_memfd),
	CASE(changed_private_file),
	CASE(view_of_moved),
	CASE(hugetlb),
	CASE(device),
	CASE(vdso),
	CASE(locked),
	CASE(locked_on_fault),
	CASE(not_readable),
	CASE(writable_only),
	CASE(executable_only),
	CASE(growing),
	CASE(main_stack),
	CASE(wiped_on_fork),
	CASE(droppable),
	CASE(shadow_stack),
	CASE(with_protection_key),
	CASE(with_userfaultfd),
	{ "mlockall_future", mlockall_future },
	{ "sealed", sealed },
	{ "userfaultfd_elsewhere", userfaultfd_elsewhere },
};

KZ_MAIN(cases)
