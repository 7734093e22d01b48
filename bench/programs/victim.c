// SPDX-License-Identifier: Apache-2.0

// Children that do what kills them, one after the other:
//
//   victim open PATH COUNT     opens PATH, and is killed for it, or is not
//   victim kill - COUNT        kills itself: what the measurement costs by itself
//
// One line of JSON for each child. ns: from just before the call until its parent knew that it was
// dead, so the wake-up of the parent is in it. survived: it came to its next instruction.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct seen {
	unsigned long long began;
	int survived;
};

static unsigned long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000ULL + time.tv_nsec;
}

int main(int argc, char **argv)
{
	struct timespec pause = { 0, 5000000 };
	struct seen *seen;
	long count;

	if (argc != 4 || (strcmp(argv[1], "open") && strcmp(argv[1], "kill"))) {
		fprintf(stderr, "usage: victim open PATH | kill -, with COUNT\n");
		return 2;
	}
	seen = mmap(NULL, sizeof(*seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (seen == MAP_FAILED)
		return 1;
	for (count = strtol(argv[3], NULL, 10); count > 0; count--) {
		unsigned long long dead;
		int status;
		pid_t child;

		seen->survived = 0;
		child = fork();
		if (child < 0)
			return 1;
		if (child == 0) {
			seen->began = now();
			if (argv[1][0] == 'o')
				open(argv[2], O_RDONLY);
			else
				kill(getpid(), SIGKILL);
			seen->survived = 1;
			_exit(0);
		}
		if (waitpid(child, &status, 0) != child)
			return 1;
		dead = now();
		printf("{\"ns\": %llu, \"killed\": %d, \"survived\": %d}\n", dead - seen->began,
		       WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, seen->survived);
		nanosleep(&pause, NULL);
	}
	return 0;
}
