// SPDX-License-Identifier: GPL-2.0
/* Runs a program's cases, each in a process group of its own. */
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kz_test.h"

#define CHILD_SECONDS 60

struct kz_options kz_options;
unsigned int kz_case_seconds = 120;
unsigned int kz_slowness = 1;

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

void kz_sleep_ms(unsigned int milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000L };

	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

void kz_fail(const char *file, int line, int error, const char *format, ...)
{
	const char *slash = strrchr(file, '/');
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	dprintf(STDOUT_FILENO, "%s:%d: %s%s%s\n", slash ? slash + 1 : file, line, text,
		error ? ": " : "", error ? strerror(error) : "");
	_exit(EXIT_FAILURE);
}

void kz_skip(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	dprintf(STDOUT_FILENO, "  ");
	vdprintf(STDOUT_FILENO, format, arguments);
	dprintf(STDOUT_FILENO, "\n");
	va_end(arguments);
	_exit(EXIT_SKIPPED);
}

/* Processes */

pid_t kz_fork(void)
{
	pid_t parent = getpid(), child = fork();

	if (child == -1)
		kz_fail(__FILE__, __LINE__, errno, "fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(EXIT_FAILURE);
	}
	return child;
}

/* The status of a child that has ended by @deadline, which it is killed after; else -1. */
static int wait_until(pid_t child, double deadline)
{
	bool late = false;
	int status;
	pid_t ended;

	while ((ended = waitpid(child, &status, late ? 0 : WNOHANG)) != child) {
		if (ended == -1 && errno != EINTR)
			return -1;
		if (now() > deadline) {
			kill(child, SIGKILL);
			late = true;
		}
		kz_sleep_ms(2);
	}
	return late ? -1 : status;
}

int kz_wait(pid_t child)
{
	int status = wait_until(child, now() + CHILD_SECONDS * kz_slowness);

	if (status == -1)
		FAIL("a child took more than %u s", CHILD_SECONDS * kz_slowness);
	return status;
}

void send_fd(int socket, int fd)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct iovec byte = { "", 1 };
	struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control,
				  .msg_controllen = sizeof(control) };

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	CHECK_EQ(sendmsg(socket, &message, MSG_NOSIGNAL), 1);
}

int receive_fd(int socket)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = {};
	char text;
	struct iovec byte = { &text, 1 };
	struct msghdr message = { .msg_iov = &byte, .msg_iovlen = 1, .msg_control = &control,
				  .msg_controllen = sizeof(control) };
	int fd;

	CHECK_EQ(recvmsg(socket, &message, MSG_CMSG_CLOEXEC), 1);
	CHECK_EQ(control.header.cmsg_type, SCM_RIGHTS);
	memcpy(&fd, CMSG_DATA(&control.header), sizeof(fd));
	return fd;
}

/* Cases */

struct live {
	long files, pages;
};

static struct live live_now(void)
{
	return (struct live){ kz_parameter("live_files"), kz_parameter("live_pages") };
}

/* Whether the module is back to as many files and pages as before; a kill may take a moment. */
static bool is_settled(const struct live *before)
{
	double deadline = now() + 10 * kz_slowness;
	struct live live;

	do {
		live = live_now();
		if (live.files == before->files && live.pages == before->pages)
			return true;
		kz_sleep_ms(20);
	} while (now() < deadline);
	printf("files %ld, were %ld; pages %ld, were %ld\n", live.files, before->files, live.pages,
	       before->pages);
	return false;
}

static const char *reason_of(int status)
{
	if (status == -1)
		return "took too long";
	if (WIFSIGNALED(status))
		return strsignal(WTERMSIG(status));
	return "";
}

/* Prints "ok", "skipped" or "failed" with the case's name. Returns false if it has failed. */
static bool run_case(const struct kz_case *test, bool *skipped)
{
	struct live before = live_now();
	double start = now();
	const char *reason;
	bool passed;
	pid_t child;
	int status;

	child = kz_fork();
	if (!child) {
		setpgid(0, 0);
		test->run();
		_exit(EXIT_SUCCESS);
	}
	setpgid(child, child);
	status = wait_until(child, start + kz_options.seconds + kz_case_seconds * kz_slowness);
	kill(-child, SIGKILL);
	*skipped = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED;
	passed = !status || *skipped;
	/* No parameter may stay set that lets the next case fail. */
	kz_set_parameter("fail_step", 0);
	kz_set_parameter("force_copy", 0);
	kz_set_parameter("max_user_bytes", 0);
	kz_set_parameter("piece_pages", PIECE_PAGES);
	passed = is_settled(&before) && passed;
	reason = reason_of(status);
	printf("%s %s (%.1f s)%s%s\n", !passed ? "failed" : *skipped ? "skipped" : "ok",
	       test->name, now() - start, *reason ? ": " : "", reason);
	return passed;
}

static void parse_options(int argc, char **argv)
{
	const char *slowness = getenv("SLOWNESS");
	int option;

	if (slowness)
		kz_slowness = (unsigned int)strtoul(slowness, NULL, 10);
	while ((option = getopt(argc, argv, "t:s:")) != -1) {
		if (option == 't')
			kz_options.seconds = (unsigned int)strtoul(optarg, NULL, 10);
		else if (option == 's')
			kz_options.seed = strtoull(optarg, NULL, 0);
		else
			exit(2);
	}
	if (!kz_options.seed)
		kz_options.seed = (uint64_t)time(NULL);
}

static bool is_selected(const char *name, char **selection)
{
	if (!*selection)
		return true;
	for (; *selection; selection++)
		if (!strcmp(*selection, name))
			return true;
	return false;
}

int kz_run(int argc, char **argv, const struct kz_case *cases, size_t count)
{
	const char *slash = strrchr(argv[0], '/');
	const char *program = slash ? slash + 1 : argv[0];
	char failed[1024] = "";
	size_t i, passed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse_options(argc, argv);
	printf("# %s, seed %llu\n", program, (unsigned long long)kz_options.seed);
	for (i = 0; i < count; i++) {
		bool skipped;

		if (!is_selected(cases[i].name, argv + optind))
			continue;
		if (run_case(cases + i, &skipped))
			passed += !skipped;
		else
			snprintf(failed + strlen(failed), sizeof(failed) - strlen(failed), " %s",
				 cases[i].name);
	}
	if (!passed && !*failed)
		snprintf(failed, sizeof(failed), " no case passed");
	if (*failed)
		printf("FAILED %s:%s\n", program, failed);
	else
		printf("OK %s\n", program);
	return *failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
