// SPDX-License-Identifier: Apache-2.0

// Does what rules look for and a shell cannot: one deed a run, named by the first argument. Each is
// harmless: what would change the machine is asked for in a form that the kernel refuses, and
// connections stay on addresses of the pod's own loopback.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <netinet/in.h>
#include <pty.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <sys/io.h>
#endif

static char memory[64];

static int said(const char *what, long result)
{
	printf("%s: %s\n", what, result < 0 ? strerror(errno) : "done");
	return 0;
}

static struct sockaddr_in place(const char *address, int port)
{
	struct sockaddr_in found = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_pton(AF_INET, address, &found.sin_addr);
	return found;
}

static int listener(const char *address, int port)
{
	struct sockaddr_in here = place(address, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (bind(fd, (void *)&here, sizeof(here)) || listen(fd, 64)) {
		perror("listen");
		exit(1);
	}
	return fd;
}

static int connected(const char *address, int port)
{
	struct sockaddr_in there = place(address, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (connect(fd, (void *)&there, sizeof(there)) == 0)
		return fd;
	close(fd);
	return -1;
}

/* A child that waits to be traced, or written to. */
static pid_t idle(void)
{
	pid_t child = fork();

	if (child == 0) {
		pause();
		_exit(0);
	}
	usleep(20000);
	return child;
}

static void end(pid_t child)
{
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

static int trace(void)
{
	pid_t child = idle();
	long result = ptrace(PTRACE_ATTACH, child, 0, 0);

	waitpid(child, NULL, 0);
	said("attach", result);
	said("poke", ptrace(PTRACE_POKEDATA, child, memory, 1L));
	ptrace(PTRACE_DETACH, child, 0, 0);
	end(child);
	return 0;
}

static int read_memory(pid_t whose, unsigned long address)
{
	char byte;
	struct iovec here = { &byte, 1 }, there = { (void *)address, 1 };

	return said("read memory", process_vm_readv(whose, &here, 1, &there, 1, 0));
}

/* A byte of a process' memory that surely is there: where its first mapping begins. */
static int read_other(pid_t whose)
{
	char path[64], line[256] = "";
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", whose);
	maps = fopen(path, "r");
	if (!maps || !fgets(line, sizeof(line), maps))
		return said(path, -1);
	return read_memory(whose, strtoul(line, NULL, 16));
}

static int write_memory(void)
{
	pid_t child = idle();
	struct iovec here = { memory, 1 }, there = { memory, 1 };

	said("write memory", process_vm_writev(child, &here, 1, &there, 1, 0));
	end(child);
	return 0;
}

/* Runs a program that lies in memory alone. */
static int run_from_memory(const char *program)
{
	char bytes[65536], *const arguments[] = { "true", NULL }, *const none[] = { NULL };
	int from = open(program, O_RDONLY), to = memfd_create("deed", MFD_CLOEXEC);
	ssize_t length;

	while ((length = read(from, bytes, sizeof(bytes))) > 0)
		if (write(to, bytes, length) != length)
			return said("copy", -1);
	fexecve(to, arguments, none);
	return said("run", -1);
}

static int crash(int times)
{
	while (times-- > 0) {
		pid_t child = fork();

		if (child == 0) {
			signal(SIGSEGV, SIG_DFL);
			raise(SIGSEGV);
		}
		waitpid(child, NULL, 0);
	}
	return 0;
}

/* A program whose standard streams are a connection, as a reverse shell's are. */
static int reverse(const char *address, int port)
{
	char *const arguments[] = { "true", NULL };
	int server = listener(address, port);
	pid_t child = fork();

	if (child == 0) {
		int fd = connected(address, port);

		dup2(fd, 0);
		dup2(fd, 1);
		dup2(fd, 2);
		execv("/bin/true", arguments);
		_exit(1);
	}
	close(accept(server, NULL, NULL));
	waitpid(child, NULL, 0);
	return 0;
}

static int meet(const char *address, int port)
{
	int server = listener(address, port), fd = connected(address, port);

	close(accept(server, NULL, NULL));
	return said("meet", fd);
}

static int scan(const char *address, int first, int ports)
{
	for (int port = first; port < first + ports; port++)
		close(connected(address, port));
	return 0;
}

static int sweep(int addresses, int port)
{
	for (int number = 1; number <= addresses; number++) {
		char address[32];

		snprintf(address, sizeof(address), "127.0.1.%d", number);
		close(connected(address, port));
	}
	return 0;
}

/* Connects to a socket that is there, and says nothing to it. */
static int reach(const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	strncpy(name.sun_path, path, sizeof(name.sun_path) - 1);
	return said("connect", connect(fd, (void *)&name, sizeof(name)));
}

static int terminal(void)
{
	char *const arguments[] = { "sh", "-c", ":", NULL };
	int terminal;
	pid_t child = forkpty(&terminal, NULL, NULL, NULL);

	if (child == 0) {
		execv("/bin/sh", arguments);
		_exit(1);
	}
	waitpid(child, NULL, 0);
	return 0;
}

/* A shell, started by a program of whatever name this one has. */
static int shell(void)
{
	char *const arguments[] = { "sh", "-c", ":", NULL };
	pid_t child = fork();

	if (child == 0) {
		execv("/bin/sh", arguments);
		_exit(1);
	}
	waitpid(child, NULL, 0);
	return 0;
}

static int become_root(void)
{
	said("become 1000", setresuid(1000, 1000, 0));
	return said("become root", setresuid(0, 0, 0));
}

static int run_as(uid_t user, char *const arguments[])
{
	if (setresgid(user, user, user) || setresuid(user, user, user))
		return said("become", -1);
	execv(arguments[0], arguments);
	return said("run", -1);
}

static int by_handle(void)
{
	struct file_handle *handle = calloc(1, sizeof(*handle) + MAX_HANDLE_SZ);
	int mount, root = open("/", O_RDONLY | O_DIRECTORY);

	handle->handle_bytes = MAX_HANDLE_SZ;
	said("name", name_to_handle_at(AT_FDCWD, "/bin", handle, &mount, 0));
	return said("open", open_by_handle_at(root, handle, O_RDONLY));
}

static int performance(void)
{
	struct perf_event_attr wanted = { .size = sizeof(wanted), .type = PERF_TYPE_SOFTWARE,
					  .config = PERF_COUNT_SW_TASK_CLOCK };

	return said("perf_event_open", syscall(SYS_perf_event_open, &wanted, 0, -1, -1, 0));
}

static int bpf(void)
{
	union bpf_attr wanted = { .map_type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 4,
				  .max_entries = 1 };

	return said("bpf", syscall(SYS_bpf, BPF_MAP_CREATE, &wanted, sizeof(wanted)));
}

static int io_uring(void)
{
	char parameters[256] = "";

	return said("io_uring_setup", syscall(SYS_io_uring_setup, 1, parameters));
}

static int keys(void)
{
	return said("add_key", syscall(SYS_add_key, "user", "deed", "x", 1UL,
				       KEY_SPEC_PROCESS_KEYRING));
}

static int clock_that_cannot_be_set(void)
{
	struct timespec time = { 0 };

	return said("clock_settime", clock_settime(CLOCK_MONOTONIC, &time));
}

/* The same call as unshare(2), by the way that 32-bit programs take. */
static int old_user_namespace(void)
{
#if defined(__x86_64__)
	int result;

	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"(310), "b"(CLONE_NEWUSER)
			 : "memory", "r8", "r9", "r10", "r11");
	return said("old unshare", result);
#else
	return said("unshare", unshare(CLONE_NEWUSER));
#endif
}

static int ports(void)
{
#if defined(__x86_64__)
	return said("iopl", iopl(3));
#else
	return said("there is no iopl here", 0);
#endif
}

int main(int count, char *arguments[])
{
	const char *deed = count > 1 ? arguments[1] : "";
	const char *first = count > 2 ? arguments[2] : "", *second = count > 3 ? arguments[3] : "";

	setvbuf(stdout, NULL, _IONBF, 0);
	if (!strcmp(deed, "trace"))
		return trace();
	if (!strcmp(deed, "read-memory"))
		return read_other(atoi(first));
	if (!strcmp(deed, "write-memory"))
		return write_memory();
	if (!strcmp(deed, "run-from-memory"))
		return run_from_memory(first);
	if (!strcmp(deed, "crash"))
		return crash(atoi(first));
	if (!strcmp(deed, "reverse"))
		return reverse(first, atoi(second));
	if (!strcmp(deed, "meet"))
		return meet(first, atoi(second));
	if (!strcmp(deed, "connect"))
		return said("connect", connected(first, atoi(second)));
	if (!strcmp(deed, "scan") && count > 4)
		return scan(first, atoi(second), atoi(arguments[4]));
	if (!strcmp(deed, "sweep"))
		return sweep(atoi(first), atoi(second));
	if (!strcmp(deed, "reach"))
		return reach(first);
	if (!strcmp(deed, "terminal"))
		return terminal();
	if (!strcmp(deed, "shell"))
		return shell();
	if (!strcmp(deed, "become-root"))
		return become_root();
	if (!strcmp(deed, "run-as") && count > 3)
		return run_as(atoi(first), arguments + 3);
	if (!strcmp(deed, "read"))
		return said("open", open(first, O_RDONLY));
	if (!strcmp(deed, "by-handle"))
		return by_handle();
	if (!strcmp(deed, "module"))
		return said("init_module", syscall(SYS_init_module, memory, 0UL, ""));
	if (!strcmp(deed, "remove-module"))
		return said("delete_module", syscall(SYS_delete_module, "no_such_deed", O_NONBLOCK));
	if (!strcmp(deed, "reboot"))
		return said("reboot", syscall(SYS_reboot, 0, 0, 0, NULL));
	if (!strcmp(deed, "user-namespace"))
		return said("unshare", unshare(CLONE_NEWUSER));
	if (!strcmp(deed, "old-user-namespace"))
		return old_user_namespace();
	if (!strcmp(deed, "bpf"))
		return bpf();
	if (!strcmp(deed, "io-uring"))
		return io_uring();
	if (!strcmp(deed, "page-faults"))
		return said("userfaultfd", syscall(SYS_userfaultfd, O_CLOEXEC));
	if (!strcmp(deed, "performance"))
		return performance();
	if (!strcmp(deed, "ports"))
		return ports();
	if (!strcmp(deed, "clock"))
		return clock_that_cannot_be_set();
	if (!strcmp(deed, "accounting"))
		return said("swapoff", syscall(SYS_swapoff, "/no-such-deed"));
	if (!strcmp(deed, "keys"))
		return keys();
	if (!strcmp(deed, "addresses"))
		return said("personality", personality(ADDR_NO_RANDOMIZE));
	if (!strcmp(deed, "memory-file"))
		return said("memfd_create", memfd_create("deed", 0));
	if (!strcmp(deed, "detached-mount"))
		return said("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
	fprintf(stderr, "there is no deed '%s'\n", deed);
	return 2;
}
