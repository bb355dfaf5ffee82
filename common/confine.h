/* SPDX-License-Identifier: MIT */
/*
 * The last two layers of a backend's confinement, which it lays upon itself once everything is open and mapped: a
 * Landlock domain without any right, where the kernel has Landlock, and the seccomp filter that the launcher compiled.
 *
 * System calls that the shared part of a backend (backend.c, log.c) makes afterwards, and nothing else:
 *
 *	read(KICK)			a wakeup
 *	write(CALL), write(LOG)
 *	write(READY), close(READY)	once: ready means confined as well
 *	ppoll				sleep; the descriptors are KICK and the device's own
 *	clock_gettime			only where the clock is not in the vDSO
 *	rt_sigreturn			SIGTERM
 *	exit_group
 *
 * An allocation failure, a stack smashed or the like ends in abort(), which the filter may turn into its own kill.
 */
#ifndef HVISOR_CONFINE_H
#define HVISOR_CONFINE_H

/*
 * Sets no_new_privs, stops being dumpable, enters the Landlock domain, loads the seccomp program of policy_fd (a file
 * that is an array of struct sock_filter and nothing else) and closes policy_fd before that takes effect. A kernel
 * without Landlock is no error, only a line in the log. Returns 0, or -errno after a line in the log; then the process
 * is not confined.
 */
int confine_self(int policy_fd);

#endif
