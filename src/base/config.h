/* SPDX-License-Identifier: MIT */
/* config: what all configurations have in common. */
#ifndef WR_CONFIG_H
#define WR_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Copies what this library knows of a caller's configuration, which may be of
 * another release: `known` gets `known_size` bytes, zeros where the caller's is
 * shorter. NULL is the zeroed one. False: it sets something unknown.
 */
bool wr_config_adopt(
    void *known, size_t known_size, const void *config, size_t config_size);

/* At most 31 printable ASCII characters: names stand in lines of messages and in
   metrics. */
bool wr_config_is_name(const char *name);

#endif
