/* SPDX-License-Identifier: BSD-3-Clause
 *
 * The parameters on nbdkit's command line.  Private to the plugin.
 *
 * nbdkit gives them one by one, before there are other threads.  What is
 * secret among them is in memory of qcow_secret, until it is wiped.
 */

#ifndef PLUGIN_CONFIG_H
#define PLUGIN_CONFIG_H

#include "qcow/qcow.h"

/* For nbdkit's .config, .config_complete and .config_help. */
int config_parameter (const char *key, const char *value);
int config_complete (void);
extern const char config_help[];

/* Set what the parameters say; after config_complete.  The strings stay
 * ours; the secret ones are there until config_wipe_secrets.
 */
void config_take (struct qcow_options *options);

void config_wipe_secrets (void);
void config_free (void);

#endif /* PLUGIN_CONFIG_H */
