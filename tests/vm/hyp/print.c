/* SPDX-License-Identifier: MIT */
/*
 * The serial port. Root's accesses to it are passed on one by one through here and those of the other zones end here,
 * so lines of the hypervisor and of the zones never lie in the middle of a line of root's.
 */
#include <stdarg.h>

#include "hyp.h"

#define UART_DR 0x0u
#define UART_FR 0x18u
#define UART_FR_TXFF 0x20u
#define UART_FR_RXFE 0x10u
#define UART_FR_TXFE 0x80u
#define UART_ID 0xfe0u

static struct lock uart_lock;
static bool line_open; /* root has written a part of a line */

static void put_char(char c)
{
	while (mmio_read(UART_BASE + UART_FR, 4) & UART_FR_TXFF) {
	}
	mmio_write(UART_BASE + UART_DR, 4, (uint8_t)c);
}

static void put_string(const char *s)
{
	for (; *s != '\0'; s++)
		put_char(*s);
}

static void put_number(uint64_t value, uint32_t base, bool negative)
{
	char digits[24];
	uint32_t n = sizeof(digits);

	digits[--n] = '\0';
	do {
		digits[--n] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value != 0);
	if (negative)
		digits[--n] = '-';
	put_string(&digits[n]);
}

/* %s %u %x %d, with # and l */
static void put_format(const char *format, va_list args)
{
	for (; *format != '\0'; format++) {
		bool wide = false;

		if (*format != '%') {
			put_char(*format);
			continue;
		}
		format++;
		if (*format == '#') {
			put_string("0x");
			format++;
		}
		if (*format == 'l') {
			wide = true;
			format++;
		}
		if (*format == 's') {
			put_string(va_arg(args, const char *));
		} else if (*format == 'd') {
			long value = wide ? va_arg(args, long) : va_arg(args, int);

			put_number(value < 0 ? -(uint64_t)value : (uint64_t)value, 10, value < 0);
		} else {
			put_number(wide ? va_arg(args, uint64_t) : va_arg(args, uint32_t), *format == 'x' ? 16 : 10,
				   false);
		}
	}
}

static void line_begin(const char *prefix)
{
	lock(&uart_lock);
	if (line_open)
		put_string("\r\n");
	line_open = false;
	put_string(prefix);
}

static void line_end(void)
{
	put_string("\r\n");
	unlock(&uart_lock);
}

void print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line_begin("hyp: ");
	put_format(format, args);
	line_end();
	va_end(args);
}

void violation(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line_begin("HYP-VIOLATION: ");
	put_format(format, args);
	line_end();
	va_end(args);
}

void panic(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	line_begin("HYP-PANIC: ");
	put_format(format, args);
	line_end();
	va_end(args);
	for (;;)
		asm volatile("wfi");
}

static void zone_line(struct zone *zone)
{
	line_begin("[zone ");
	put_number(zone->id, 10, false);
	put_string("] ");
	zone->line[zone->line_len] = '\0';
	put_string(zone->line);
	line_end();
	zone->line_len = 0;
}

void uart_flush_zone(struct zone *zone)
{
	if (zone->line_len > 0)
		zone_line(zone);
}

uint64_t uart_access(struct zone *zone, uint64_t offset, uint32_t size, bool write, uint64_t value)
{
	uint64_t result = 0;

	if (zone == &zones[0]) {
		lock(&uart_lock);
		if (write) {
			mmio_write(UART_BASE + offset, size, value);
			if (offset == UART_DR)
				line_open = (char)value != '\n';
		} else {
			result = mmio_read(UART_BASE + offset, size);
		}
		unlock(&uart_lock);
		return result;
	}
	/* A zone without a serial port of its own finds a transmitter here, for its early messages. */
	if (write) {
		if (offset != UART_DR || (char)value == '\r')
			return 0;
		if ((char)value != '\n')
			zone->line[zone->line_len++] = (char)value;
		if ((char)value == '\n' || zone->line_len == sizeof(zone->line) - 1)
			zone_line(zone);
		return 0;
	}
	if (offset == UART_FR)
		return UART_FR_TXFE | UART_FR_RXFE;
	return offset >= UART_ID ? mmio_read(UART_BASE + offset, size) : 0;
}
