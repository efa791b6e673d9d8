// SPDX-License-Identifier: GPL-2.0
/*
 * The module's calls, at random: fuzz [-t SECONDS] [-s SEED]. Workers come and go, some are killed,
 * and meanwhile memory is reclaimed, compacted and merged, and steps are told to fail. Every worker
 * has its own seed, which a failure tells; threads and the kernel's moods are not in it.
 */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

#define WORKERS 3
#define DEFAULT_SECONDS 20

#define CGROUP "/sys/fs/cgroup/fuzz"
#define KSM "/sys/kernel/mm/ksm/"
#define THP "/sys/kernel/mm/transparent_hugepage/"

struct worker {
	pid_t process;
	uint64_t seed;
	bool is_model, killed;
	double end, kill_at;	/* kill_at 0: it lives as long as it wants */
};

struct fuzz_counts *fuzz_counts;

double fuzz_now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

int fuzz_create(void)
{
	int fd;

	do {
		fd = kz_create();
	} while (fd == -1 && errno == ENOMEM);
	return (int)CHECK_OK(fd);
}

/* What this kernel doesn't have isn't set up. */
static void set_up(void)
{
	static const char *const settings[][2] = {
		{ KSM "sleep_millisecs", "20" },
		{ KSM "run", "1" },
		{ THP "khugepaged/scan_sleep_millisecs", "100" },
		{ THP "khugepaged/alloc_sleep_millisecs", "100" },
		{ CGROUP "/cgroup.procs", "0" },
	};
	size_t i;

	let_allocations_fail();
	mkdir(CGROUP, 0755);
	for (i = 0; i < ARRAY_SIZE(settings); i++)
		write_text(settings[i][0], settings[i][1]);
	fuzz_counts = (void *)CHECK_OK(mmap(NULL, sizeof(*fuzz_counts), PROT_READ | PROT_WRITE,
					    MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

static void tear_down(void)
{
	write_text(KSM "run", "2");
	write_text(THP "shmem_enabled", "never");
	kz_set_parameter("max_user_bytes", 0);
	kz_set_parameter("piece_pages", PIECE_PAGES);
}

/* What happens to all workers. */
static void perturb(uint64_t *random)
{
	static const char *const shmem[] = { "never", "never", "advise", "within_size", "always" };
	char bytes[32];

	switch (below(random, 13)) {
	case 0:
	case 1:
	case 2:
	case 3:
		kz_set_parameter("fail_step", (long)below(random, 40));
		break;
	case 4:
		kz_set_parameter("force_copy", one_in(random, 4));
		break;
	case 5:
		kz_set_parameter("max_user_bytes",
				 one_in(random, 3) ? (long)(below(random, 64) * MIB) : 0);
		break;
	case 6:
	case 7:
		snprintf(bytes, sizeof(bytes), "%zu", below(random, 32) * MIB);
		write_text(CGROUP "/memory.reclaim", bytes);
		break;
	case 8:
		kz_set_parameter("piece_pages", one_in(random, 3) ? PIECE_PAGES : HUGE / PAGE);
		break;
	case 9:
		write_text("/proc/sys/vm/compact_memory", "1");
		break;
	case 10:
		write_text("/proc/sys/vm/drop_caches", one_in(random, 4) ? "3" : "2");
		break;
	case 11:
		write_text(THP "shmem_enabled", shmem[below(random, ARRAY_SIZE(shmem))]);
		break;
	default:
		break;
	}
}

static void start_worker(struct worker *worker, uint64_t *random, double end)
{
	double now = fuzz_now(), seconds = (1 + (double)below(random, 5000) * 1e-3) * kz_slowness;

	*worker = (struct worker){ .seed = kz_random(random), .is_model = one_in(random, 2) };
	if (seconds > end - now)
		seconds = end - now;
	worker->end = now + seconds;
	if (one_in(random, 2))
		worker->kill_at = now + seconds * (double)below(random, 1000) * 1e-3;
	worker->process = kz_fork();
	if (worker->process)
		return;
	setpgid(0, 0);
	if (worker->is_model)
		fuzz_model(worker->seed, seconds);
	fuzz_wild(worker->seed, seconds);
}

void print_file(const char *path)
{
	char text[4096];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t got;

	dprintf(STDOUT_FILENO, "%s\n", path);
	while (fd != -1 && (got = read(fd, text, sizeof(text))) > 0)
		dprintf(STDOUT_FILENO, "%.*s", (int)got, text);
	close(fd);
}

/* Where the threads of a worker that doesn't end are in the kernel. */
static void print_stacks(pid_t process)
{
	char path[300];
	struct dirent *entry;
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/task", process);
	folder = opendir(path);
	while (folder && (entry = readdir(folder))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/stack", process, entry->d_name);
		print_file(path);
	}
	write_text("/proc/sys/kernel/sysrq", "1");
	write_text("/proc/sysrq-trigger", "w");
}

static void check_ended(const struct worker *worker, int status)
{
	if (!status || (worker->killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		return;
	/* Memory may have run out, and not by the workers' fault alone. */
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL &&
	    read_field("/proc/vmstat", "oom_kill") > 0)
		return;
	FAIL("a %s worker of seed %llu: status %x", worker->is_model ? "model" : "wild",
	     (unsigned long long)worker->seed, (unsigned int)status);
}

/* Whether the worker is still there; kills it when its time has come, and fails when it hangs. */
static bool look_after(struct worker *worker)
{
	double now = fuzz_now();
	int status;

	if (!worker->process)
		return false;
	if (waitpid(worker->process, &status, WNOHANG) == worker->process) {
		kill(-worker->process, SIGKILL);
		worker->process = 0;
		check_ended(worker, status);
		return false;
	}
	if (worker->kill_at && now > worker->kill_at) {
		kill(worker->process, SIGKILL);
		worker->killed = true;
	}
	if (now > worker->end + 60 * kz_slowness) {
		print_stacks(worker->process);
		FAIL("a %s worker of seed %llu hangs", worker->is_model ? "model" : "wild",
		     (unsigned long long)worker->seed);
	}
	return true;
}

static void fuzz(void)
{
	double end = fuzz_now() + (kz_options.seconds ? kz_options.seconds : DEFAULT_SECONDS);
	unsigned long workers = 0, alive = 0, i;
	struct worker worker[WORKERS] = {};
	uint64_t random = kz_options.seed;

	set_up();
	while (alive || fuzz_now() < end) {
		for (alive = i = 0; i < WORKERS; i++) {
			if (!look_after(worker + i) && fuzz_now() < end) {
				start_worker(worker + i, &random, end);
				workers++;
			}
			alive += worker[i].process != 0;
		}
		if (one_in(&random, 5 * kz_slowness))
			perturb(&random);
		kz_sleep_ms(20);
	}
	tear_down();
	dprintf(STDOUT_FILENO,
		"  %lu workers, %lu operations, %lu forks; %lu moves, %lu of them refused and %lu for lack of memory; %lu queries; pages: %lu moved, %lu of huge ones, %lu copied, %lu compared\n",
		workers, fuzz_counts->ops, fuzz_counts->forks, fuzz_counts->calls,
		fuzz_counts->refused, fuzz_counts->failed, fuzz_counts->queries, fuzz_counts->moved,
		fuzz_counts->huge, fuzz_counts->copied, fuzz_counts->checked);
	CHECK(fuzz_counts->moved && fuzz_counts->copied && fuzz_counts->checked);
}

static const struct kz_case cases[] = {
	{ "fuzz", fuzz },
};

KZ_MAIN(cases)
