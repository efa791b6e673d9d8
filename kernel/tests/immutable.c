// SPDX-License-Identifier: GPL-2.0
/* Nobody writes to a file, root and its maker neither, in any way that the kernel has. */
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "kz_test.h"

#define LENGTH (4 * PAGE)

/* The file of this process; its view is at @memory, and is moved as flags say. */
static int new_file(char **memory)
{
	int fd = CHECK_OK(kz_create());

	*memory = map_pages(LENGTH);
	fill(*memory, LENGTH, 1);
	CHECK_EQ(kz_move_one(fd, 0, *memory, LENGTH, NULL), 0);
	return fd;
}

static void check_bytes(int fd)
{
	struct stat status;

	CHECK_OK(fstat(fd, &status));
	CHECK_EQ(status.st_size, LENGTH);
	CHECK_EQ(status.st_blocks, LENGTH / 512);
	CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
	CHECK_EQ(differing(map_file(fd, 0, LENGTH), LENGTH, 1, 0), 0);
}

static const char *path_of(int fd)
{
	static char path[64];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}

static void through_descriptor(void)
{
	struct iovec vector = { "x", 1 };
	int ends[2], fd;
	char *memory;

	fd = new_file(&memory);
	CHECK_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	CHECK_ERRNO(write(fd, "x", 1), EBADF);
	CHECK_ERRNO(pwrite(fd, "x", 1, 0), EBADF);
	CHECK_ERRNO(pwritev2(fd, &vector, 1, 0, RWF_APPEND), EBADF);
	CHECK_ERRNO(ftruncate(fd, 0), EINVAL);
	CHECK_ERRNO(ftruncate(fd, 2 * LENGTH), EINVAL);
	CHECK_ERRNO(fallocate(fd, 0, 0, 2 * LENGTH), EBADF);
	CHECK_ERRNO(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), EBADF);
	CHECK_OK(pipe(ends));
	CHECK_EQ(write(ends[1], "x", 1), 1);
	CHECK_ERRNO(splice(ends[0], NULL, fd, &(loff_t){ 0 }, 1, 0), EBADF);
	CHECK_ERRNO(copy_file_range(fd, &(off_t){ PAGE }, fd, &(off_t){ 0 }, PAGE, 0), EBADF);
	CHECK_ERRNO(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), EPERM);
	CHECK_EQ(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE);
	check_bytes(fd);
}

/* The links of /proc lead to the file past its name, and past no lock. */
static void by_opening_anew(void)
{
	static const int modes[] = { 0444, 0666, 0777, 0000, 06777 };
	struct stat status;
	char *memory;
	size_t i;
	int fd = new_file(&memory), path, again;

	CHECK_OK(fstat(fd, &status));
	CHECK_EQ(status.st_mode, S_IFREG | 0444);
	CHECK_EQ(status.st_nlink, 0);
	path = CHECK_OK(open(path_of(fd), O_PATH | O_CLOEXEC));
	for (i = 0; i < ARRAY_SIZE(modes); i++) {
		/* Whether the mode can be changed is up to shmem; it mustn't help. */
		(void)fchmod(fd, modes[i]);
		(void)chmod(path_of(path), modes[i]);
		CHECK_ERRNO(open(path_of(fd), O_RDWR), EPERM);
		CHECK_ERRNO(open(path_of(fd), O_WRONLY), EPERM);
		CHECK_ERRNO(open(path_of(path), O_RDWR | O_APPEND), EPERM);
		CHECK_ERRNO(open(path_of(fd), O_RDWR | O_TRUNC), EPERM);
		CHECK_ERRNO(open(path_of(fd), O_RDONLY | O_TRUNC), EPERM);
		CHECK_ERRNO(truncate(path_of(fd), 0), EPERM);
		CHECK_ERRNO(truncate(path_of(fd), 2 * LENGTH), EPERM);
		/* Neither to what it is: there might be more by then. */
		CHECK_ERRNO(truncate(path_of(fd), LENGTH), EPERM);
	}
	CHECK_EQ(linkat(AT_FDCWD, path_of(fd), AT_FDCWD, "/dev/shm/kz", AT_SYMLINK_FOLLOW), -1);
	again = CHECK_OK(open(path_of(fd), O_RDONLY));
	check_bytes(again);
	/* What was opened anew is the same file, that its maker may append to. */
	CHECK_EQ(kz_move_one(again, 0, map_pages(PAGE), PAGE, NULL), LENGTH);
}

static void through_mappings(void)
{
	int fd, source;
	char *memory, *map, *executable;

	fd = new_file(&memory);
	CHECK_ERRNO(mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EACCES);
	CHECK_ERRNO(mmap(NULL, LENGTH, PROT_WRITE, MAP_SHARED_VALIDATE, fd, 0), EACCES);
	map = map_file(fd, 0, LENGTH);
	CHECK_ERRNO(mprotect(map, LENGTH, PROT_READ | PROT_WRITE), EACCES);
	executable = mmap(NULL, LENGTH, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	if (executable != MAP_FAILED)
		CHECK_ERRNO(mprotect(executable, LENGTH, PROT_READ | PROT_WRITE), EACCES);
	CHECK_EQ(madvise(map, LENGTH, MADV_REMOVE), -1);
	CHECK_EQ(madvise(memory, LENGTH, MADV_REMOVE), -1);
	CHECK_EQ(madvise(map, LENGTH, MADV_POPULATE_WRITE), -1);
	source = CHECK_OK(open("/dev/zero", O_RDONLY));
	CHECK_ERRNO(read(source, map, PAGE), EFAULT);
	check_bytes(fd);
}

/* The ways past a mapping's rights, which debuggers have. */
static void by_force(void)
{
	struct iovec local = { "x", 1 }, remote;
	char *memory, *map;
	int fd, self, status;
	pid_t child;

	fd = new_file(&memory);
	map = map_file(fd, 0, LENGTH);
	self = CHECK_OK(open("/proc/self/mem", O_RDWR));
	CHECK_EQ(pwrite(self, "x", 1, (off_t)map), -1);
	remote = (struct iovec){ map, 1 };
	CHECK_EQ(process_vm_writev(getpid(), &local, 1, &remote, 1, 0), -1);
	/* Into the view it goes, as a copy. */
	CHECK_EQ(pwrite(self, "x", 1, (off_t)memory), 1);
	CHECK_EQ(memory[0], 'x');
	child = kz_fork();
	if (!child) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		_exit(EXIT_SUCCESS);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFSTOPPED(status));
	CHECK_EQ(ptrace(PTRACE_POKEDATA, child, map, 0x78L), -1);
	CHECK_OK(ptrace(PTRACE_POKEDATA, child, memory, 0x78L));
	CHECK_OK(ptrace(PTRACE_CONT, child, NULL, NULL));
	reap(child);
	check_bytes(fd);
}

/* What the owner does to its view is its own. */
static void through_the_view(void)
{
	char *memory, *other;
	int fd = new_file(&memory), source = CHECK_OK(open("/dev/zero", O_RDONLY));

	memset(memory, 7, PAGE);
	CHECK_EQ(read(source, memory + PAGE, PAGE), PAGE);
	CHECK_EQ(not_zero(memory + PAGE, PAGE), 0);
	check_bytes(fd);
	/* A writable private mapping of anybody's is as private. */
	other = mmap(NULL, LENGTH, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK_OK(other);
	memset(other, 9, LENGTH);
	check_bytes(fd);
	CHECK_EQ(memory[0], 7);
}

/* A page in a pipe is the file's; neither the pipe's reader nor its writer can change it. */
static void through_a_pipe(void)
{
	char *memory, byte[2];
	int ends[2], fd = new_file(&memory);

	CHECK_OK(pipe(ends));
	CHECK_EQ(splice(fd, &(loff_t){ 0 }, ends[1], NULL, 1, 0), 1);
	CHECK_EQ(write(ends[1], "x", 1), 1);
	CHECK_EQ(read(ends[0], byte, 2), 2);
	CHECK_EQ(byte[1], 'x');
	check_bytes(fd);
}

static void by_attributes(void)
{
	struct timespec times[2] = {};
	int fd, flags = 0;
	char *memory;

	fd = new_file(&memory);
	/* Whichever of these the kernel allows, bytes and size stay. */
	(void)futimens(fd, times);
	(void)fchown(fd, 1000, 1000);
	(void)fsetxattr(fd, "trusted.x", "x", 1, 0);
	(void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
	(void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	(void)sync_file_range(fd, 0, LENGTH, SYNC_FILE_RANGE_WRITE);
	(void)fsync(fd);
	(void)readahead(fd, 0, LENGTH);
	check_bytes(fd);
	CHECK_ERRNO(open(path_of(fd), O_RDWR), EPERM);
}

/* An empty file is as closed as a full one. */
static void from_the_start(void)
{
	int fd = CHECK_OK(kz_create());

	CHECK_ERRNO(open(path_of(fd), O_RDWR), EPERM);
	CHECK_OK(fchmod(fd, 0644));
	CHECK_ERRNO(truncate(path_of(fd), PAGE), EPERM);
	CHECK_ERRNO(truncate(path_of(fd), 0), EPERM);
	CHECK_ERRNO(open(path_of(fd), O_RDONLY | O_TRUNC), EPERM);
	CHECK_ERRNO(write(fd, "x", 1), EBADF);
	CHECK_ERRNO(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), EACCES);
	CHECK_EQ(lseek(fd, 0, SEEK_END), 0);
}

static const struct kz_case cases[] = {
	{ "through_descriptor", through_descriptor },
	{ "by_opening_anew", by_opening_anew },
	{ "through_mappings", through_mappings },
	{ "by_force", by_force },
	{ "through_the_view", through_the_view },
	{ "through_a_pipe", through_a_pipe },
	{ "by_attributes", by_attributes },
	{ "from_the_start", from_the_start },
};

KZ_MAIN(cases)
