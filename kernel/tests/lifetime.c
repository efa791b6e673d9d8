// SPDX-License-Identifier: GPL-2.0
/* Files and views through fork, exec, exit and kill; and the module, which stays while they do. */
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kz_test.h"

#define LENGTH (16 * PAGE)

static char *new_view(int *fd)
{
	char *memory = map_pages(LENGTH);

	*fd = CHECK_OK(kz_create());
	fill(memory, LENGTH, 1);
	CHECK_EQ(kz_move_one(*fd, 0, memory, LENGTH, NULL), 0);
	return memory;
}

static void forking(void)
{
	int fd, ends[2];
	char *view = new_view(&fd), byte;
	pid_t child;

	CHECK_OK(pipe(ends));
	view[0] = 'p';
	child = kz_fork();
	if (!child) {
		close(ends[1]);
		CHECK_EQ(view[0], 'p');
		CHECK_EQ(differing(view + 1, LENGTH - 1, 1, 1), 0);
		memset(view, 'c', 2 * PAGE);
		CHECK_EQ(read(ends[0], &byte, 1), 0);
		/* Neither sees what the other writes. */
		CHECK_EQ(view[0], 'c');
		CHECK_EQ(differing(view + 2 * PAGE, LENGTH - 2 * PAGE, 1, 2 * PAGE), 0);
		CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
		CHECK_ERRNO(kz_move_one(fd, 0, map_pages(PAGE), PAGE, NULL), EPERM);
		_exit(0);
	}
	memset(view + 2 * PAGE, 'P', PAGE);
	close(ends[1]);
	reap(child);
	CHECK_EQ(view[0], 'p');
	CHECK_EQ(differing(view + PAGE, PAGE, 1, PAGE), 0);
	CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
}

/* The file of a process that sends it and ends at once. */
static int file_of_other(pid_t *owner)
{
	int sockets[2], fd;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	*owner = kz_fork();
	if (!*owner) {
		new_view(&fd);
		send_fd(sockets[1], fd);
		_exit(0);
	}
	fd = receive_fd(sockets[0]);
	close(sockets[0]);
	close(sockets[1]);
	return fd;
}

static void owners_exit(void)
{
	pid_t owner;
	int fd = file_of_other(&owner);

	reap(owner);
	CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
	CHECK_EQ(differing(map_file(fd, 0, LENGTH), LENGTH, 1, 0), 0);
	CHECK_EQ(kz_parameter("live_files"), 1);
	CHECK_EQ(kz_parameter("live_pages"), LENGTH / PAGE);
	CHECK_ERRNO(kz_move_one(fd, 0, map_pages(PAGE), PAGE, NULL), EPERM);
}

/* Files hold nothing of the processes that made them: not what the kernel has of an address space. */
static void makers_are_forgotten(void)
{
	long long before = read_field("/proc/slabinfo", "mm_struct");
	pid_t owner;
	int i;

	if (before < 0)
		kz_skip("the kernel doesn't tell how many address spaces there are");
	for (i = 0; i < 200; i++) {
		file_of_other(&owner);
		reap(owner);
	}
	CHECK_EQ(kz_parameter("live_files"), 200);
	CHECK_SOON(read_field("/proc/slabinfo", "mm_struct") < before + 150);
}

/* What a process moves that goes on until it ends: each page tells where in the file it is. */
static void *move_for_ever(void *file)
{
	size_t pages = 0, count = 1;

	for (;; count = count % 37 + 1) {
		char *memory = map_pages(2 * count * PAGE);
		struct kz_range ranges[] = { range_of(memory, count * PAGE),
					     range_of(memory + count * PAGE, count * PAGE) };
		size_t i;

		for (i = 0; i < 2 * count; i++)
			fill(memory + i * PAGE, PAGE, pages + i);
		CHECK_OK(kz_move(*(int *)file, pages % 4 ? KZ_MOVE_UNMAP : 0, ranges, 2, NULL));
		pages += 2 * count;
		CHECK_OK(munmap(memory, 2 * count * PAGE));
	}
	return NULL;
}

/* Whatever is in such a file is there as a whole. */
static void check_pages(int fd)
{
	struct stat status;
	size_t page;

	CHECK_OK(fstat(fd, &status));
	CHECK_EQ(status.st_size, kz_parameter("live_pages") * (long)PAGE);
	CHECK_EQ(status.st_blocks, status.st_size / 512);
	for (page = 0; page < (size_t)status.st_size / PAGE; page++)
		CHECK_EQ(file_differing(fd, (off_t)(page * PAGE), PAGE, page, 0), 0);
}

/* After exec this program looks at the descriptors that it finds. */
#define AFTER_EXEC "KZ_AFTER_EXEC"

static void after_exec(const char *fds)
{
	struct kz_version version = { .size = sizeof(version) };
	struct kz_create create = { .size = sizeof(create) };
	int file, device;

	if (sscanf(fds, "%d %d", &file, &device) != 2)
		FAIL("%s", fds);
	if (file == -1) {
		CHECK_EQ(kz_parameter("live_files"), 0);
		_exit(0);
	}
	if (device == -1) {
		check_pages(file);
		_exit(0);
	}
	CHECK_EQ(file_differing(file, 0, LENGTH, 1, 0), 0);
	CHECK_OK(ioctl(device, KZ_VERSION, &version));
	CHECK_ERRNO(ioctl(device, KZ_CREATE, &create), EPERM);
	CHECK_ERRNO(kz_move_one(file, 0, map_pages(PAGE), PAGE, NULL), EPERM);
	_exit(0);
}

static void exec_with(int file, int device)
{
	char fds[64];

	snprintf(fds, sizeof(fds), "%d %d", file, device);
	CHECK_OK(setenv(AFTER_EXEC, fds, 1));
	execl("/proc/self/exe", "lifetime", NULL);
	FAIL("exec");
}

static void exec_drops_views(void)
{
	int fd;

	new_view(&fd);
	exec_with(-1, -1);
}

static void exec_with_descriptors(void)
{
	int fd, device = dup(kz_device());

	new_view(&fd);
	exec_with(dup(fd), device);
}

/* Another thread's call goes on until exec ends it. */
static void exec_in_a_call(void)
{
	uint64_t state = kz_options.seed;
	int round;

	for (round = 0; round < 10; round++) {
		pid_t child = kz_fork();
		pthread_t mover;
		int fd;

		if (!child) {
			fd = CHECK_OK(kz_create());
			CHECK_EQ(pthread_create(&mover, NULL, move_for_ever, &fd), 0);
			kz_sleep_ms(10 + kz_random(&state) % 60);
			exec_with(dup(fd), -1);
		}
		kz_random(&state);
		reap(child);
	}
}

/* Whatever is the file's last use, it isn't gone before that, and it is then. */
static void last_uses(void)
{
	char path[64], *map;
	int fd, path_fd, ends[2];

	CHECK_OK(munmap(new_view(&fd), LENGTH));
	map = map_file(fd, 0, LENGTH);
	close(fd);
	CHECK_EQ(differing(map, LENGTH, 1, 0), 0);
	CHECK_OK(munmap(map, LENGTH));
	CHECK_EQ(kz_parameter("live_files"), 0);

	CHECK_OK(munmap(new_view(&fd), LENGTH));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	path_fd = CHECK_OK(open(path, O_PATH));
	close(fd);
	CHECK_EQ(kz_parameter("live_files"), 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", path_fd);
	fd = CHECK_OK(open(path, O_RDONLY));
	CHECK_EQ(file_differing(fd, 0, LENGTH, 1, 0), 0);
	close(path_fd);
	close(fd);
	CHECK_EQ(kz_parameter("live_files"), 0);

	CHECK_OK(munmap(new_view(&fd), LENGTH));
	CHECK_OK(pipe(ends));
	CHECK_EQ(splice(fd, &(loff_t){ 0 }, ends[1], NULL, PAGE, 0), PAGE);
	close(fd);
	/* A page in a pipe holds itself, not the file. */
	CHECK_EQ(kz_parameter("live_files"), 0);
	map = malloc(PAGE);
	CHECK_EQ(read(ends[0], map, PAGE), PAGE);
	CHECK_EQ(differing(map, PAGE, 1, 0), 0);
}

static void killed_in_a_call(void)
{
	uint64_t state = kz_options.seed;
	int round;

	for (round = 0; round < 60; round++) {
		int sockets[2], fd;
		pid_t mover;

		CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
		mover = kz_fork();
		if (!mover) {
			fd = CHECK_OK(kz_create());
			send_fd(sockets[1], fd);
			move_for_ever(&fd);
		}
		fd = receive_fd(sockets[0]);
		kz_sleep_ms(kz_random(&state) % 60);
		CHECK_OK(kill(mover, SIGKILL));
		CHECK_EQ(kz_wait(mover), SIGKILL);
		check_pages(fd);
		close(fd);
		close(sockets[0]);
		close(sockets[1]);
	}
}

static int unload(void)
{
	return (int)syscall(SYS_delete_module, "kernelzero", O_NONBLOCK);
}

static void check_in_use(void)
{
	CHECK_ERRNO(unload(), EAGAIN);
}

static void unloading_is_refused(void)
{
	char path[64], *map;
	int fd, path_fd;
	pid_t owner;

	owner = kz_fork();
	if (!owner) {
		kz_device();
		check_in_use();
		_exit(0);
	}
	reap(owner);
	/* From here on the device isn't open: what uses the module are files. */
	owner = kz_fork();
	if (!owner) {
		CHECK_OK(munmap(new_view(&fd), LENGTH));
		close(kz_device());
		check_in_use();
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		path_fd = CHECK_OK(open(path, O_PATH));
		map = map_file(fd, 0, LENGTH);
		close(fd);
		check_in_use();
		close(path_fd);
		check_in_use();
		CHECK_EQ(differing(map, LENGTH, 1, 0), 0);
		_exit(0);
	}
	reap(owner);
}

/* Unloads as soon as it goes, while the last file is going, and loads anew. */
static void unloading_behind_the_last_file(void)
{
	const char *build = getenv("BUILD");
	char path[512];
	int round, module;

	if (!build)
		kz_skip("BUILD doesn't say where the module is");
	snprintf(path, sizeof(path), "%s/kernelzero.ko", build);
	module = CHECK_OK(open(path, O_RDONLY));
	for (round = 0; round < 10; round++) {
		pid_t owner;
		int fd = file_of_other(&owner);

		check_in_use();
		close(fd);
		CHECK_SOON(!unload());
		reap(owner);
		CHECK_OK(syscall(SYS_finit_module, module, "", 0));
	}
	CHECK_EQ(kz_parameter("live_files"), 0);
}

static const struct kz_case cases[] = {
	{ "forking", forking },
	{ "owners_exit", owners_exit },
	{ "makers_are_forgotten", makers_are_forgotten },
	{ "exec_drops_views", exec_drops_views },
	{ "exec_with_descriptors", exec_with_descriptors },
	{ "exec_in_a_call", exec_in_a_call },
	{ "last_uses", last_uses },
	{ "killed_in_a_call", killed_in_a_call },
	{ "unloading_is_refused", unloading_is_refused },
	{ "unloading_behind_the_last_file", unloading_behind_the_last_file },
};

int main(int argc, char **argv)
{
	const char *fds = getenv(AFTER_EXEC);

	if (fds)
		after_exec(fds);
	return kz_run(argc, argv, cases, ARRAY_SIZE(cases));
}
