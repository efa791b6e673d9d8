// SPDX-License-Identifier: GPL-2.0
/* The module's calls, parameters, and the files that tell of memory. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "kz_test.h"

#define PARAMETERS "/sys/module/kernelzero/parameters/"
#define DEBUG "/sys/kernel/debug/"
#define FAIL_NTH "/proc/thread-self/fail-nth"

int kz_device(void)
{
	static pid_t opener;
	static int device = -1;

	if (opener != getpid()) {
		device = open(KZ_DEVICE, O_RDWR | O_CLOEXEC);
		if (device == -1)
			kz_fail(__FILE__, __LINE__, errno, KZ_DEVICE);
		opener = getpid();
	}
	return device;
}

int kz_version(struct kz_version *version)
{
	*version = (struct kz_version){ .size = sizeof(*version) };
	return ioctl(kz_device(), KZ_VERSION, version);
}

int kz_create(void)
{
	struct kz_create create = { .size = sizeof(create) };

	return ioctl(kz_device(), KZ_CREATE, &create) ? -1 : create.fd;
}

int kz_move(int fd, unsigned int flags, struct kz_range *ranges, size_t count,
	    struct kz_move *account)
{
	struct kz_move move = { .size = sizeof(move), .flags = flags, .fd = fd,
				.nr_ranges = (uint32_t)count, .ranges = (uintptr_t)ranges };
	int result = ioctl(kz_device(), KZ_MOVE, &move);

	if (account)
		*account = move;
	return result;
}

long long kz_move_one(int fd, unsigned int flags, const void *address, size_t length,
		      struct kz_move *account)
{
	struct kz_range range = range_of(address, length);

	return kz_move(fd, flags, &range, 1, account) ? -1 : (long long)range.offset;
}

int kz_query(struct kz_extent *extents, size_t count)
{
	struct kz_query query = { .size = sizeof(query), .nr_extents = (uint32_t)count,
				  .extents = (uintptr_t)extents };

	return ioctl(kz_device(), KZ_QUERY, &query) ? -1 : (int)query.done;
}

struct kz_range range_of(const void *address, size_t length)
{
	return (struct kz_range){ .addr = (uintptr_t)address, .length = length };
}

int write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), error;
	ssize_t length = (ssize_t)strlen(text), written;

	if (fd == -1)
		return -1;
	written = write(fd, text, (size_t)length);
	error = errno;
	close(fd);
	errno = error;
	return written == length ? 0 : -1;
}

bool let_allocations_fail(void)
{
	static const char *const settings[][2] = {
		{ DEBUG "failslab/ignore-gfp-wait", "0" },
		{ DEBUG "failslab/verbose", "0" },
		{ DEBUG "fail_page_alloc/ignore-gfp-wait", "0" },
		{ DEBUG "fail_page_alloc/ignore-gfp-highmem", "0" },
		{ DEBUG "fail_page_alloc/min-order", "0" },
		{ DEBUG "fail_page_alloc/verbose", "0" },
	};
	size_t i;

	mount("debugfs", DEBUG, "debugfs", 0, NULL);
	for (i = 0; i < ARRAY_SIZE(settings); i++)
		write_text(settings[i][0], settings[i][1]);
	return !access(FAIL_NTH, W_OK);
}

void fail_allocation(unsigned int nth)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", nth);
	write_text(FAIL_NTH, text);
}

long long read_number(const char *path)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd == -1 || read(fd, text, sizeof(text) - 1) <= 0)
		kz_fail(__FILE__, __LINE__, errno, "%s", path);
	close(fd);
	return strtoll(text, NULL, 10);
}

long long read_field(const char *path, const char *key)
{
	FILE *file = fopen(path, "re");
	long long value = -1;
	char line[256];

	if (!file)
		kz_fail(__FILE__, __LINE__, errno, "%s", path);
	while (value == -1 && fgets(line, sizeof(line), file)) {
		size_t length = strcspn(line, ": \t");

		if (length == strlen(key) && !strncmp(line, key, length))
			value = strtoll(line + length + strspn(line + length, ": \t"), NULL, 10);
	}
	fclose(file);
	return value;
}

long kz_parameter(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	return (long)read_number(path);
}

int kz_set_parameter(const char *name, long value)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	snprintf(text, sizeof(text), "%ld", value);
	return write_text(path, text);
}
