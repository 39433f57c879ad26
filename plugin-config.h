/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The parameters on nbdkit's command line.  Private to the plugin.
 *
 * nbdkit's main thread calls these functions in this order, all but
 * config_free before it serves.
 */

#ifndef PLUGIN_CONFIG_H
#define PLUGIN_CONFIG_H

#include "qcow/directory.h"
#include "qcow/qcow.h"

/* Set all parameters to their defaults. */
void config_load (void);

/* nbdkit's .config, .config_complete and .config_help. */
int config_parameter (const char *key, const char *value);
int config_complete (void);
extern const char config_help[];

/* The texts for struct qcow_hooks, QCOW_NR_HINTS of them: only parameters that
 * can be combined with those given.
 */
const char *const *config_hints (void);

/* The values of the parameters.  The result shares its strings and lists:
 * passphrases are valid until config_wipe_passphrases, the others until
 * config_free.
 */
struct qcow_options config_options (void);

/* True if the user wants a description of the image instead of a server. */
bool config_info (void);

void config_wipe_passphrases (void);
void config_free (void);

#endif /* PLUGIN_CONFIG_H */
