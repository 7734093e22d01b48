// SPDX-License-Identifier: Apache-2.0

// A workload of known size. Each form prints one line of JSON at its end and stops by itself:
//
//   generator opens N PREFIX [RATE]   opens PREFIX-0 … PREFIX-(N-1), read-only, once each
//   generator execs N MARKER [RATE]   runs itself N times as `generator noop MARKER I`
//   generator sleep SECONDS           sleeps
//   generator noop …                  ends at once
//
// RATE is calls a second; absent or 0: as fast as it goes. A first line "ready" is printed
// before the first call, so that a test knows that the process is up.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NANOSECONDS 1000000000ULL

struct tally {
	unsigned long done, succeeded, failed;
};

static unsigned long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * NANOSECONDS + time.tv_nsec;
}

static void sleep_until(unsigned long long when)
{
	struct timespec time = { when / NANOSECONDS, when % NANOSECONDS };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR)
		;
}

static int open_once(const char *prefix, unsigned long i)
{
	char path[PATH_MAX];
	int fd;

	if (snprintf(path, sizeof(path), "%s-%lu", prefix, i) >= (int)sizeof(path))
		return 0;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

static int exec_once(const char *marker, unsigned long i)
{
	char number[32];
	int status;
	pid_t child;

	snprintf(number, sizeof(number), "%lu", i);
	child = vfork();
	if (child == 0) {
		execl("/proc/self/exe", "generator", "noop", marker, number, (char *)NULL);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return 0;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static struct tally repeat(int (*once)(const char *, unsigned long), unsigned long count,
			   const char *text, unsigned long rate)
{
	unsigned long long begin = now();
	struct tally tally = { 0 };

	for (unsigned long i = 0; i < count; i++) {
		if (rate)
			sleep_until(begin + i * NANOSECONDS / rate);
		if (once(text, i))
			tally.succeeded++;
		else
			tally.failed++;
		tally.done++;
	}
	return tally;
}

static unsigned long number(const char *text, const char *what)
{
	char *end;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno || end == text || *end || *text == '-') {
		fprintf(stderr, "generator: %s must be a number, not \"%s\"\n", what, text);
		exit(2);
	}
	return value;
}

int main(int argc, char **argv)
{
	const char *form = argc > 1 ? argv[1] : "";
	struct tally tally;
	unsigned long count, rate;

	if (!strcmp(form, "noop"))
		return 0;
	if (!strcmp(form, "sleep") && argc == 3) {
		sleep(number(argv[2], "SECONDS"));
		return 0;
	}
	if ((strcmp(form, "opens") && strcmp(form, "execs")) || argc < 4 || argc > 5) {
		fprintf(stderr, "usage: generator opens N PREFIX [RATE] | execs N MARKER [RATE]"
				" | sleep SECONDS | noop\n");
		return 2;
	}
	count = number(argv[2], "N");
	rate = argc == 5 ? number(argv[4], "RATE") : 0;
	printf("ready\n");
	fflush(stdout);
	tally = repeat(form[0] == 'o' ? open_once : exec_once, count, argv[3], rate);
	printf("{\"form\": \"%s\", \"done\": %lu, \"succeeded\": %lu, \"failed\": %lu}\n", form,
	       tally.done, tally.succeeded, tally.failed);
	return 0;
}
