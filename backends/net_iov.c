/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "net.h"

/* Calls for each piece of [offset, offset + len); how many bytes there were. */
static uint64_t iov_copy(const struct iovec *iov, uint32_t n, uint64_t offset, uint8_t *to, const uint8_t *from,
			 uint64_t len)
{
	uint64_t done = 0;
	uint8_t *base;
	uint64_t piece;

	for (; n > 0 && done < len; iov++, n--) {
		if (offset >= iov->iov_len) {
			offset -= iov->iov_len;
			continue;
		}
		base = (uint8_t *)iov->iov_base + offset;
		piece = iov->iov_len - offset;
		if (piece > len - done)
			piece = len - done;
		if (to)
			memcpy(to + done, base, piece);
		else
			memcpy(base, from + done, piece);
		done += piece;
		offset = 0;
	}
	return done;
}

uint64_t net_iov_read(const struct iovec *iov, uint32_t n, uint64_t offset, void *bytes, uint64_t len)
{
	return iov_copy(iov, n, offset, bytes, NULL, len);
}

uint64_t net_iov_write(const struct iovec *iov, uint32_t n, uint64_t offset, const void *bytes, uint64_t len)
{
	return iov_copy(iov, n, offset, NULL, bytes, len);
}
