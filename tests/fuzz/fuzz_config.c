/* SPDX-License-Identifier: MIT */
/* virtio_cfg.json: the input is the file. */
#include "launcher/config.h"
#include "tests/fuzz/input.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config config;
	struct errors errors;

	errors_init(&errors);
	if (config_read(&config, input_file(data, size), &errors) == 0) {
		INPUT_CHECK(errors.count == 0);
		INPUT_CHECK(config.nzones > 0 && config.ndevices + config.nskipped == config.nwindows);
		config_finish(&config);
	} else {
		INPUT_CHECK(errors.count > 0);
	}
	errors_finish(&errors);
	return 0;
}
