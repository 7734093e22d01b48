// SPDX-License-Identifier: Apache-2.0

// Operations of one kind, counted, bounded in number and in time:
//
//   generator opens PATH COUNT MILLISECONDS RATE      opens PATH for reading, and closes it
//   generator execs MARKER COUNT MILLISECONDS RATE    runs itself as `generator noop MARKER`
//   generator connects PORT COUNT MILLISECONDS RATE   connects over loopback, accepts, resets
//   generator getpid - COUNT MILLISECONDS RATE        the cheapest system call
//   generator noop …                             ends at once
//
// It ends after COUNT operations or MILLISECONDS, whichever comes first. RATE is operations a second,
// made in bursts of a millisecond's worth; 0: as fast as it goes. One line of JSON at the end:
// cpu_ns is this process's CPU time and its children's, tracing programs' share included, since
// those run in the process that they trace.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define NANOSECONDS 1000000000ULL
#define TICK (NANOSECONDS / 1000)

static volatile sig_atomic_t over;
static const char *what;
static struct sockaddr_in place = { .sin_family = AF_INET };
static int listener = -1;

static void end(int number)
{
	(void)number;
	over = 1;
}

static unsigned long long now(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * NANOSECONDS + time.tv_nsec;
}

static unsigned long long children_cpu(void)
{
	struct rusage usage;

	getrusage(RUSAGE_CHILDREN, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * NANOSECONDS +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000ULL;
}

static int open_once(void)
{
	int fd = open(what, O_RDONLY);

	return fd >= 0 && close(fd) == 0;
}

static int exec_once(void)
{
	int status;
	pid_t child = vfork();

	if (child == 0) {
		execl("/proc/self/exe", "generator", "noop", what, (char *)NULL);
		_exit(127);
	}
	while (waitpid(child, &status, 0) < 0)
		if (child < 0 || errno != EINTR)
			return 0;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

// A reset leaves no port in TIME_WAIT: ports never run out, however many connections are made.
static void reset(int fd)
{
	struct linger linger = { 1, 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(fd);
}

static int connect_once(void)
{
	int far, near = socket(AF_INET, SOCK_STREAM, 0);

	if (near < 0)
		return 0;
	if (connect(near, (struct sockaddr *)&place, sizeof(place)) < 0) {
		close(near);
		return 0;
	}
	far = accept(listener, NULL, NULL);
	reset(near);
	if (far >= 0)
		reset(far);
	return 1;
}

static int getpid_once(void)
{
	return syscall(SYS_getpid) > 0;
}

static unsigned long number(const char *text, const char *name)
{
	char *rest;
	unsigned long value;

	errno = 0;
	value = strtoul(text, &rest, 10);
	if (errno || rest == text || *rest || *text == '-') {
		fprintf(stderr, "generator: %s must be a number, not \"%s\"\n", name, text);
		exit(2);
	}
	return value;
}

static int listen_at(unsigned long port)
{
	int on = 1;

	place.sin_port = htons(port);
	place.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&place, sizeof(place)) < 0 ||
	    listen(listener, 128) < 0) {
		perror("generator: cannot listen");
		return 0;
	}
	return 1;
}

static void run(int (*once)(void), unsigned long count, unsigned long rate)
{
	unsigned long long begin = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID), ns;
	unsigned long done = 0, failed = 0, due = count;

	while (!over && done < count) {
		if (rate) {
			ns = now(CLOCK_MONOTONIC) - begin;
			due = ns / TICK * rate / (NANOSECONDS / TICK);
			if (due <= done) {
				struct timespec pause = { 0, TICK - ns % TICK };

				nanosleep(&pause, NULL);
				continue;
			}
			if (due > count)
				due = count;
		}
		for (; done < due && !over; done++)
			failed += !once();
	}
	cpu = now(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	ns = now(CLOCK_MONOTONIC) - begin;
	printf("{\"done\": %lu, \"failed\": %lu, \"ns\": %llu, \"cpu_ns\": %llu}\n", done, failed,
	       ns, cpu + children_cpu());
}

int main(int argc, char **argv)
{
	const char *form = argc > 1 ? argv[1] : "";
	struct itimerval limit = { 0 };
	unsigned long milliseconds;
	int (*once)(void);

	if (!strcmp(form, "noop"))
		return 0;
	once = !strcmp(form, "opens")    ? open_once :
	       !strcmp(form, "execs")    ? exec_once :
	       !strcmp(form, "connects") ? connect_once :
	       !strcmp(form, "getpid")   ? getpid_once :
					   NULL;
	if (!once || argc != 6) {
		fprintf(stderr, "usage: generator opens PATH | execs MARKER | connects PORT"
				" | getpid -, each with COUNT MILLISECONDS RATE\n");
		return 2;
	}
	what = argv[2];
	if (once == connect_once && !listen_at(number(what, "PORT")))
		return 1;
	milliseconds = number(argv[4], "MILLISECONDS");
	limit.it_value.tv_sec = milliseconds / 1000;
	limit.it_value.tv_usec = milliseconds % 1000 * 1000;
	signal(SIGALRM, end);
	setitimer(ITIMER_REAL, &limit, NULL);
	run(once, number(argv[3], "COUNT"), number(argv[5], "RATE"));
	return 0;
}
