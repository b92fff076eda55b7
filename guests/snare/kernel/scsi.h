/* What the SCSI disk driver and the adapter below it tell each other. */
#ifndef SCSI_H
#define SCSI_H

#include "types.h"

enum { SCSI_GOOD = 0, SCSI_CHECK = 2, SCSI_BUSY = 8 }; /* [SCSI-2] §7.3 */
enum { SCSI_FAILED = -1, SCSI_NOBODY = -2 };           /* no status came; no target of that id */

struct scsi_command {
    u32 id;
    u8 cdb[10];
    u32 length;
    void *data;
    u32 left; /* bytes of data; afterwards, those that were not moved */
    int write;
    u32 sent; /* of the CDB */
    int status;
};

/* aic7870.c */
extern int aic7870_count;
void aic7870_find(void);
int aic7870_has(int adapter, u32 id); /* may a target have that id? */
int aic7870_execute(int adapter, struct scsi_command *command); /* a status, or SCSI_FAILED, SCSI_NOBODY */

#endif
