// SPDX-License-Identifier: Apache-2.0

// Work of known size, as fast as it goes unless a rate is given:
//
//   load opens N PREFIX            tries to open PREFIX0 … PREFIX(N-1), which are not there
//   load rate N PREFIX PER_SECOND  the same, evenly spread in time
//   load hops N PREFIX             the same, on another CPU after every 100
//   load unread N PREFIX           the same name N times: PREFIX itself
//   load reads N PATH              opens PATH, which is there, N times, and closes it
//   load getpids N                 N cheap system calls
//
// It begins at the end of its standard input, so that several can begin at once.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void pause_for(long nanoseconds)
{
	struct timespec time = { nanoseconds / 1000000000L, nanoseconds % 1000000000L };

	while (nanosleep(&time, &time) && errno == EINTR)
		;
}

static void hop(void)
{
	static int cpu;
	cpu_set_t all, one;

	if (sched_getaffinity(getppid(), sizeof(all), &all))
		return;
	do
		cpu = (cpu + 1) % CPU_SETSIZE;
	while (!CPU_ISSET(cpu, &all));
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	sched_setaffinity(0, sizeof(one), &one);
}

int main(int count, char **argument)
{
	const char *how = count > 2 ? argument[1] : "";
	unsigned long number, total = count > 2 ? strtoul(argument[2], NULL, 10) : 0;
	const char *prefix = count > 3 ? argument[3] : "";
	long per_second = count > 4 ? atol(argument[4]) : 0;
	char path[PATH_MAX], byte;

	while (read(0, &byte, 1) > 0)
		;
	for (number = 0; number < total; number++) {
		if (!strcmp(how, "getpids")) {
			syscall(SYS_getpid);
			continue;
		}
		if (!strcmp(how, "hops") && number % 100 == 0)
			hop();
		if (!strcmp(how, "reads")) {
			if (close(open(prefix, O_RDONLY)))
				return 1;
			continue;
		}
		if (!strcmp(how, "unread"))
			strcpy(path, prefix);
		else
			snprintf(path, sizeof(path), "%s%lu", prefix, number);
		if (open(path, O_RDONLY) >= 0)
			return 1;
		if (per_second)
			pause_for(1000000000L / per_second);
	}
	return 0;
}
