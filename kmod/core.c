// SPDX-License-Identifier: GPL-2.0-only
/*
 * The portable core, which user space compiles from the same files: queue region, register model, bridge. One object
 * of this folder, so that nothing is built in the sources' own folder.
 */
#include "../common/region.c"
#include "../common/vmmio.c"
#include "../common/bridge.c"
