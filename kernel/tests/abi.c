// SPDX-License-Identifier: GPL-2.0
/* Structs that begin with their size, command numbers, and whom a device's descriptor serves. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kz_test.h"

static const struct {
	unsigned long command;
	size_t size;
} kz_calls[] = {
	{ KZ_VERSION, sizeof(struct kz_version) },
	{ KZ_CREATE, sizeof(struct kz_create) },
	{ KZ_MOVE, sizeof(struct kz_move) },
	{ KZ_QUERY, sizeof(struct kz_query) },
};

/* A call that does nothing, of a struct that claims a size; longer ones end in a byte. */
static int call(size_t i, uint32_t size, unsigned char last)
{
	static int fd = -1;
	union {
		uint32_t size;
		struct kz_move move;
		struct kz_create create;
		unsigned char bytes[2 * PAGE];
	} argument = {};
	int result;

	if (fd == -1)
		fd = CHECK_OK(kz_create());
	argument.size = size;
	if (kz_calls[i].command == KZ_MOVE)
		argument.move.fd = fd;
	if (size > kz_calls[i].size && size <= sizeof(argument))
		argument.bytes[size - 1] = last;
	result = ioctl(kz_device(), kz_calls[i].command, &argument);
	if (!result && kz_calls[i].command == KZ_CREATE)
		close(argument.create.fd);
	return result;
}

static void sizes(void)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(kz_calls); i++) {
		uint32_t size = (uint32_t)kz_calls[i].size;

		CHECK_OK(call(i, size, 0));
		CHECK_ERRNO(call(i, 0, 0), EINVAL);
		CHECK_ERRNO(call(i, 4, 0), EINVAL);
		CHECK_ERRNO(call(i, size - 1, 0), EINVAL);
		/* A caller of the future, who asks for nothing new, or does. */
		CHECK_OK(call(i, size + 8, 0));
		CHECK_OK(call(i, PAGE, 0));
		CHECK_ERRNO(call(i, size + 1, 1), E2BIG);
		CHECK_ERRNO(call(i, PAGE, 1), E2BIG);
		CHECK_ERRNO(call(i, PAGE + 1, 0), E2BIG);
		CHECK_ERRNO(call(i, UINT32_MAX & ~7U, 0), E2BIG);
	}
}

/* A longer struct isn't written to behind what the module knows. */
static void longer_struct_stays(void)
{
	struct {
		struct kz_version known;
		uint64_t unknown[4];
	} version = { .known.size = sizeof(version) };
	char *page = map_pages(2 * PAGE), *at = page + PAGE - sizeof(struct kz_version);

	CHECK_OK(ioctl(kz_device(), KZ_VERSION, &version));
	CHECK_EQ(version.known.abi, KZ_ABI_VERSION);
	CHECK_EQ(not_zero(version.unknown, sizeof(version.unknown)), 0);
	/* And what it claims to have must be there. */
	CHECK_OK(munmap(page + PAGE, PAGE));
	*(uint32_t *)at = sizeof(struct kz_version) + 8;
	CHECK_ERRNO(ioctl(kz_device(), KZ_VERSION, at), EFAULT);
}

static void commands(void)
{
	struct kz_version version = { .size = sizeof(version) };
	unsigned int number;

	for (number = 0; number < 256; number++) {
		unsigned long command = _IOWR('Z', number, struct kz_version);

		if (number < _IOC_NR(KZ_VERSION) || number > _IOC_NR(KZ_QUERY))
			CHECK_ERRNO(ioctl(kz_device(), command, &version), ENOTTY);
	}
	CHECK_ERRNO(ioctl(kz_device(), _IOWR('z', 0x40, struct kz_version), &version), ENOTTY);
	CHECK_ERRNO(ioctl(kz_device(), _IOR('Z', 0x40, struct kz_version), &version), ENOTTY);
	CHECK_ERRNO(ioctl(kz_device(), _IO('Z', 0x40), &version), ENOTTY);
	/* The size in the number is no part of it. */
	CHECK_OK(ioctl(kz_device(), _IOWR('Z', 0x40, char[500]), &version));
	CHECK_OK(ioctl(kz_device(), _IOWR('Z', 0x40, char), &version));
}

static void version(void)
{
	struct kz_version version;

	CHECK_OK(kz_version(&version));
	CHECK_EQ(version.size, sizeof(version));
	CHECK_EQ(version.abi, 2);
	CHECK(version.capabilities & KZ_CAP_HUGE);
	CHECK_EQ(version.capabilities & ~0xfULL, 0);
	CHECK_EQ(version.max_ranges, kz_parameter("max_ranges"));
	CHECK_EQ(version.max_bytes, kz_parameter("max_user_bytes"));
}

static void create(void)
{
	struct kz_create create = { .size = sizeof(create), .flags = 1 };
	char *page = map_pages(PAGE);
	struct kz_snapshot *before = take_snapshot(page, PAGE, -1);
	int fd;

	CHECK_ERRNO(ioctl(kz_device(), KZ_CREATE, &create), EINVAL);
	create = (struct kz_create){ .size = sizeof(create), .reserved = 1 };
	CHECK_ERRNO(ioctl(kz_device(), KZ_CREATE, &create), EINVAL);
	CHECK_UNCHANGED(before);
	/* No descriptor may appear that its maker isn't told of. */
	*(struct kz_create *)page = (struct kz_create){ .size = sizeof(create) };
	CHECK_OK(mprotect(page, PAGE, PROT_READ));
	before = take_snapshot(page, PAGE, -1);
	CHECK_ERRNO(ioctl(kz_device(), KZ_CREATE, page), EFAULT);
	CHECK_UNCHANGED(before);
	fd = CHECK_OK(kz_create());
	CHECK_EQ(kz_parameter("live_files"), 1);
	CHECK_EQ(kz_parameter("live_pages"), 0);
	CHECK_OK(kz_move_one(fd, 0, map_pages(3 * PAGE), 3 * PAGE, NULL));
	CHECK_EQ(kz_parameter("live_pages"), 3);
}

/* Every call but KZ_VERSION is EPERM. */
static void check_useless(int device, int file)
{
	struct kz_version version = { .size = sizeof(version) };
	struct kz_create create = { .size = sizeof(create) };
	struct kz_move move = { .size = sizeof(move), .fd = file };
	struct kz_query query = { .size = sizeof(query) };

	CHECK_OK(ioctl(device, KZ_VERSION, &version));
	CHECK_ERRNO(ioctl(device, KZ_CREATE, &create), EPERM);
	CHECK_ERRNO(ioctl(device, KZ_MOVE, &move), EPERM);
	CHECK_ERRNO(ioctl(device, KZ_QUERY, &query), EPERM);
	/* Nor does a good descriptor of the device let one append to another's file. */
	CHECK_ERRNO(ioctl(kz_device(), KZ_MOVE, &move), EPERM);
	move.fd = CHECK_OK(kz_create());
	CHECK_OK(ioctl(kz_device(), KZ_MOVE, &move));
}

static void in_a_child(void)
{
	int device = kz_device(), file = CHECK_OK(kz_create());
	pid_t child = kz_fork();

	if (!child) {
		check_useless(device, file);
		_exit(0);
	}
	reap(child);
}

static void over_a_socket(void)
{
	int sockets[2];
	pid_t child;

	CHECK_OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	child = kz_fork();
	if (!child) {
		int device = receive_fd(sockets[1]);

		check_useless(device, receive_fd(sockets[1]));
		_exit(0);
	}
	send_fd(sockets[0], kz_device());
	send_fd(sockets[0], (int)CHECK_OK(kz_create()));
	reap(child);
}

static void in_a_vfork(void)
{
	static volatile int result = -1;
	int file = CHECK_OK(kz_create()), device = kz_device();
	char *memory = map_pages(PAGE);
	struct kz_range range = range_of(memory, PAGE);
	struct kz_move move = { .size = sizeof(move), .fd = file, .nr_ranges = 1,
				.ranges = (uintptr_t)&range };
	pid_t child;

	fill(memory, PAGE, 1);
	/* The same address space, so it may. */
	child = vfork();
	if (!child) {
		result = ioctl(device, KZ_MOVE, &move);
		_exit(0);
	}
	reap(child);
	CHECK_EQ(result, 0);
	CHECK_EQ(file_differing(file, 0, PAGE, 1, 0), 0);
}

static const struct kz_case cases[] = {
	{ "sizes", sizes },
	{ "longer_struct_stays", longer_struct_stays },
	{ "commands", commands },
	{ "version", version },
	{ "create", create },
	{ "in_a_child", in_a_child },
	{ "over_a_socket", over_a_socket },
	{ "in_a_vfork", in_a_vfork },
};

KZ_MAIN(cases)
