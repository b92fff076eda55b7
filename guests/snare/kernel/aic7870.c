/*
 * The Adaptec AIC-7870 without a program in its sequencer: that stays paused, and the driver takes the
 * SCSI bus from phase to phase itself. Messages, commands and status go byte by byte through SCSIDATL,
 * data by the chip's DMA.
 *
 * At each step the target asks with REQ, and the chip interrupts: SIMODE0 and SIMODE1 say for what. The
 * line is level sensitive, so the handler takes the request back by clearing both. An adapter that has
 * lost an interrupt is polled from then on, and so are all with `scsi=pio` on the command line. A
 * command ends after PATIENCE_MS in any case; the bus is reset then.
 *
 * Not here: disconnecting, tagged commands, synchronous and wide transfers.
 *
 * Sources: [AIC] Adaptec AIC-7870 data book (names of registers and bits are its own);
 * [SCSI-2] ANSI X3.131-1994, §6.1 (phases) and §6.6 (messages).
 */
#include "kernel.h"
#include "scsi.h"

enum {
    SCSISEQ = 0x00, SXFRCTL0 = 0x01, SXFRCTL1 = 0x02, SCSISIG = 0x03, SCSIRATE = 0x04, SCSIID = 0x05, SCSIDATL = 0x06,
    STCNT = 0x08, SSTAT0 = 0x0b, CLRSINT0 = SSTAT0, SSTAT1 = 0x0c, CLRSINT1 = SSTAT1, SIMODE0 = 0x10, SIMODE1 = 0x11,
    SBLKCTL = 0x1f, DSPCISTATUS = 0x86, HCNTRL = 0x87, HADDR = 0x88, HCNT = 0x8c, INTSTAT = 0x91, CLRINT = 0x92,
    DFCNTRL = 0x93, DFSTATUS = 0x94,
};
enum { ENSELO = 0x40, ENAUTOATNO = 0x08, SCSIRSTO = 0x01 };                                     /* SCSISEQ */
enum { DFON = 0x80, CLRSTCNT = 0x10, SPIOEN = 0x08, CLRCHN = 0x02 };                            /* SXFRCTL0 */
enum { ENSPCHK = 0x20, ENSTIMER = 0x04, ACTNEGEN = 0x02, STPWEN = 0x01 };                       /* SXFRCTL1 */
enum { SELDO = 0x40, DMADONE = 0x01 };                                                          /* SSTAT0 */
enum { SELTO = 0x80, CLRATNO = 0x40, PHASEMIS = 0x10, BUSFREE = 0x08, REQINIT = 0x01 };         /* SSTAT1 */
enum { SELWIDE = 0x02, FIFO_WHOLE = 0xc0 };                                                     /* SBLKCTL, DSPCISTATUS */
enum { PAUSE = 0x04, INTEN = 0x02, CHIPRST = 0x01, SCSIINT = 0x04, CLEAR_ALL = 0x1f };          /* HCNTRL, INTSTAT */
enum { SCSIEN = 0x20, SDMAEN = 0x10, HDMAEN = 0x08, DIRECTION = 0x04, FIFOFLUSH = 2, FIFORESET = 1, FIFOEMP = 1 };
enum { DATA_OUT = 0x00, DATA_IN = 0x40, COMMAND = 0x80, MESSAGE_OUT = 0xa0, STATUS = 0xc0, MESSAGE_IN = 0xe0 };
enum { IDENTIFY = 0x80, NO_OPERATION = 0x08, DISCONNECT = 0x04 };
enum { ADAPTERS = 4, OWN_ID = 7, PATIENCE_MS = 2000, MOST_REQUESTS = 64 };
enum { IDENTITY = 0x70789004, PCI_COMMAND = 0x04, PCI_BASE_0 = 0x10, PCI_INTERRUPT = 0x3c, IO_AND_MASTER = 5 };

static struct adapter {
    u16 base;
    int irq, ids, polled;
    volatile int interrupted;
    struct deadline end; /* of the command that runs */
} adapters[ADAPTERS];
int aic7870_count;
struct disk_waits scsi_waits;

static void write24(u16 port, u32 value)
{
    for (u16 i = 0; i < 3; i++, value >>= 8)
        out8(port + i, (u8)value);
}

static u32 read24(u16 port)
{
    return in8(port) | (u32)in8(port + 1) << 8 | (u32)in8(port + 2) << 16;
}

/* Others may share the line. */
void aic7870_interrupt(int irq)
{
    for (int i = 0; i < aic7870_count; i++) {
        u16 base = adapters[i].base;
        if (adapters[i].irq != irq || !(in8(base + INTSTAT) & SCSIINT))
            continue;
        out8(base + SIMODE0, 0);
        out8(base + SIMODE1, 0);
        out8(base + CLRINT, SCSIINT);
        adapters[i].interrupted = 1;
        scsi_waits.interrupts++;
    }
}

/* One of these bits of SSTAT0 or SSTAT1: 0, or -1 when the time is over. */
static int poll(struct adapter *adapter, u8 status0, u8 status1)
{
    while (!(in8(adapter->base + SSTAT1) & status1) && !(in8(adapter->base + SSTAT0) & status0))
        if (deadline_passed(&adapter->end)) {
            scsi_waits.timeouts++;
            return -1;
        }
    return 0;
}

static int wait(struct adapter *adapter, u8 status0, u8 status1)
{
    if (!adapter->polled) {
        adapter->interrupted = 0;
        out8(adapter->base + SIMODE0, status0);
        out8(adapter->base + SIMODE1, status1);
    }
    while (!adapter->polled && !adapter->interrupted)
        if (deadline_passed(&adapter->end)) {
            scsi_waits.missed++;
            adapter->polled = 1;
            out8(adapter->base + HCNTRL, PAUSE);
            deadline_in(&adapter->end, PATIENCE_MS);
        }
    return poll(adapter, status0, status1);
}

static void clear_transfer(struct adapter *adapter)
{
    out8(adapter->base + DFCNTRL, 0);
    out8(adapter->base + SXFRCTL0, DFON | SPIOEN | CLRSTCNT | CLRCHN);
}

/* Arbitrate and select, with ATN: the target will ask for a message. */
static int select(struct adapter *adapter, u32 id)
{
    u16 base = adapter->base;
    out8(base + SCSIID, (u8)(id << 4 | OWN_ID));
    clear_transfer(adapter);
    out8(base + CLRSINT0, 0xff);
    out8(base + CLRSINT1, 0xff);
    out8(base + SCSISEQ, ENSELO | ENAUTOATNO);
    if (wait(adapter, SELDO, SELTO) < 0)
        return SCSI_FAILED;
    int selected = in8(base + SSTAT0) & SELDO;
    out8(base + SCSISEQ, 0);
    out8(base + CLRSINT0, SELDO);
    out8(base + CLRSINT1, SELTO);
    return selected ? 0 : SCSI_NOBODY;
}

/* A data phase: as much as the target takes or has. The buffer is in the kernel: its address is physical. */
static int move(struct adapter *adapter, struct scsi_command *command, u8 phase)
{
    u16 base = adapter->base;
    u8 control = SCSIEN | SDMAEN | HDMAEN | (phase == DATA_OUT ? DIRECTION : 0);
    if (!command->left || (phase == DATA_OUT) != command->write)
        return -1;
    out32(base + HADDR, (u32)command->data);
    write24(base + HCNT, command->left);
    write24(base + STCNT, command->left);
    out8(base + DFCNTRL, control | FIFORESET);
    if (wait(adapter, DMADONE, PHASEMIS | BUSFREE) < 0)
        return -1;
    if (phase == DATA_IN && !(in8(base + SSTAT0) & DMADONE)) { /* fewer than asked for: some may be on the way */
        out8(base + DFCNTRL, control | FIFOFLUSH);
        while (!(in8(base + DFSTATUS) & FIFOEMP))
            if (deadline_passed(&adapter->end))
                return -1;
    }
    u32 left = read24(base + STCNT);
    command->data = (u8 *)command->data + command->left - left;
    command->left = left;
    clear_transfer(adapter);
    return 0;
}

/* A byte of the phase that the target asks for; -1 if it makes no sense. */
static int answer(struct adapter *adapter, struct scsi_command *command, u8 phase)
{
    u16 data = adapter->base + SCSIDATL;
    switch (phase) {
    case MESSAGE_OUT:
        out8(adapter->base + CLRSINT1, CLRATNO); /* this byte is the last */
        out8(data, command->sent ? NO_OPERATION : IDENTIFY);
        return 0;
    case COMMAND:
        if (command->sent == command->length)
            return -1;
        out8(data, command->cdb[command->sent++]);
        return 0;
    case STATUS:
        command->status = in8(data);
        return 0;
    case MESSAGE_IN: /* COMMAND COMPLETE, or pointers that need no saving */
        return in8(data) == DISCONNECT ? -1 : 0;
    default:
        return move(adapter, command, phase);
    }
}

/* From selection to bus free. */
static int connect(struct adapter *adapter, struct scsi_command *command)
{
    u16 base = adapter->base;
    int error = select(adapter, command->id);
    for (int i = 0; !error && i < MOST_REQUESTS; i++) {
        if (wait(adapter, 0, REQINIT | BUSFREE) < 0)
            return SCSI_FAILED;
        if (!(in8(base + SSTAT1) & REQINIT))
            return command->status;
        u8 phase = in8(base + SCSISIG) & 0xe0;
        out8(base + SCSISIG, phase);
        if (phase == 0x20 || phase == 0x60 || answer(adapter, command, phase) < 0)
            return SCSI_FAILED;
    }
    return error ? error : SCSI_FAILED;
}

static void reset_bus(struct adapter *adapter)
{
    struct deadline end;
    out8(adapter->base + SCSISEQ, SCSIRSTO);
    deadline_in(&end, 1);
    while (!deadline_passed(&end)) /* 25 us at least */
        ;
    out8(adapter->base + SCSISEQ, 0);
    out8(adapter->base + CLRSINT1, 0xff);
    clear_transfer(adapter);
}

int aic7870_execute(int number, struct scsi_command *command)
{
    struct adapter *adapter = &adapters[number];
    command->sent = 0;
    command->status = SCSI_FAILED; /* until the target tells */
    deadline_in(&adapter->end, PATIENCE_MS);
    int result = connect(adapter, command);
    out8(adapter->base + SIMODE0, 0);
    out8(adapter->base + SIMODE1, 0);
    if (result == SCSI_FAILED)
        reset_bus(adapter);
    return result;
}

int aic7870_has(int number, u32 id)
{
    return id < (u32)adapters[number].ids && id != OWN_ID;
}

/* Reset the chip and leave its sequencer paused. Termination stays as firmware found it right. */
static int start(struct adapter *adapter)
{
    u16 base = adapter->base;
    struct deadline end;
    u8 termination = in8(base + SXFRCTL1) & STPWEN;
    out8(base + HCNTRL, CHIPRST | PAUSE);
    deadline_in(&end, PATIENCE_MS);
    while (!(in8(base + HCNTRL) & CHIPRST))
        if (deadline_passed(&end))
            return 0;
    out8(base + HCNTRL, PAUSE);
    out8(base + SCSISEQ, 0);
    out8(base + SXFRCTL1, ENSPCHK | ENSTIMER | ACTNEGEN | termination);
    out8(base + SCSIRATE, 0); /* asynchronous, 8 bits */
    out8(base + SIMODE0, 0);
    out8(base + SIMODE1, 0);
    out8(base + DSPCISTATUS, FIFO_WHOLE);
    out8(base + CLRINT, CLEAR_ALL);
    adapter->ids = in8(base + SBLKCTL) & SELWIDE ? 16 : 8;
    return 1;
}

void aic7870_find(void)
{
    int function = -1;
    while (aic7870_count < ADAPTERS && (function = pci_find(IDENTITY, (u32)function + 1)) >= 0) {
        struct adapter *adapter = &adapters[aic7870_count];
        u32 base = pci_read((u32)function, PCI_BASE_0);
        adapter->base = base & 0xfffc;
        adapter->irq = pci_read((u32)function, PCI_INTERRUPT) & 0xff;
        adapter->polled = !INTERRUPTS_BY_LEVEL || adapter->irq < 1 || adapter->irq > 15 || boot_option("scsi=pio");
        if (!(base & 1) || !adapter->base)
            continue;
        pci_write((u32)function, PCI_COMMAND, (pci_read((u32)function, PCI_COMMAND) & 0xffff) | IO_AND_MASTER);
        if (!start(adapter))
            continue;
        aic7870_count++;
        if (adapter->polled)
            continue;
        irq_unmask(adapter->irq);
        out8(adapter->base + HCNTRL, PAUSE | INTEN);
    }
}
