// Shows a process an Intel processor without AVX-512, VNNI and AMX, so that what is measured on a newer processor can be
// compared with one of the AVX2 class: cpuid(1) traps (arch_prctl(2), ARCH_SET_CPUID) and is answered without those bits.
// gcc -O2 -shared -fPIC bench/peers/avx2.c -o avx2.so; LD_PRELOAD=$PWD/avx2.so npm run -s bench -- train-transformer
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define ARCH_SET_CPUID 0x1012

static const unsigned EBX7 = 1u << 16 | 1u << 17 | 1u << 21 | 1u << 26 | 1u << 27 | 1u << 28 | 1u << 30 | 1u << 31;
static const unsigned ECX7 = 1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 | 1u << 14;
static const unsigned EDX7 = 1u << 2 | 1u << 3 | 1u << 8 | 1u << 22 | 1u << 23 | 1u << 24 | 1u << 25;
static const unsigned EAX71 = 1u << 4 | 1u << 5 | 1u << 21 | 1u << 23; // AVX-VNNI, AVX512-BF16, AMX-FP16, AVX-IFMA
static const unsigned EDX71 = 1u << 4 | 1u << 5 | 1u << 8 | 1u << 10 | 1u << 19;

typedef int (*Set)(int, const struct sigaction *, struct sigaction *);
static struct sigaction theirs; // what the process itself wants done about other faults

static void answer(int signal, siginfo_t *info, void *context) {
  greg_t *r = ((ucontext_t *)context)->uc_mcontext.gregs;
  const unsigned char *at = (const unsigned char *)r[REG_RIP];
  if (info->si_code != SI_KERNEL || at[0] != 0x0f || at[1] != 0xa2) {
    if (theirs.sa_flags & SA_SIGINFO) theirs.sa_sigaction(signal, info, context);
    else ((Set)dlsym(RTLD_NEXT, "sigaction"))(signal, &theirs, 0); // it happens again
    return;
  }
  unsigned a, b, c, d, leaf = r[REG_RAX], part = r[REG_RCX];
  syscall(SYS_arch_prctl, ARCH_SET_CPUID, 1);
  __cpuid_count(leaf, part, a, b, c, d);
  syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
  if (leaf == 7 && part == 0) b &= ~EBX7, c &= ~ECX7, d &= ~EDX7;
  if (leaf == 7 && part == 1) a &= ~EAX71, d &= ~EDX71;
  if (leaf == 0x24) a = b = c = d = 0; // AVX10
  r[REG_RAX] = a, r[REG_RBX] = b, r[REG_RCX] = c, r[REG_RDX] = d;
  r[REG_RIP] += 2;
}

int sigaction(int signal, const struct sigaction *action, struct sigaction *before) {
  if (signal != SIGSEGV) return ((Set)dlsym(RTLD_NEXT, "sigaction"))(signal, action, before);
  if (before) *before = theirs;
  if (action) theirs = *action;
  return 0;
}

__attribute__((constructor)) static void begin(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = answer;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  ((Set)dlsym(RTLD_NEXT, "sigaction"))(SIGSEGV, &action, 0);
  syscall(SYS_arch_prctl, ARCH_SET_CPUID, 0);
}
