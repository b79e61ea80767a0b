/*
 * dsdt.asl - what an OS must know of a Bochs i440fx: power off, and where INTx goes
 *
 * OVMF brings no ACPI tables on Bochs, which has no fw_cfg to hand them over;
 * GRUB installs these before anything else runs. The PIIX4's power management
 * stands at 0xb000 because OVMF puts it there.
 */
DefinitionBlock ("dsdt.aml", "DSDT", 2, "FRSHET", "BOCHS", 1)
{
	/* SLP_TYP 0 in PM1a_CNT is soft off for a PIIX4. */
	Name (\_S5, Package () { Zero, Zero, Zero, Zero })

	/* 1: the OS uses the I/O APIC. */
	Name (\PICM, Zero)
	Method (\_PIC, 1) { \PICM = Arg0 }

	Scope (\_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A03"))
			Name (_UID, Zero)
			Name (_CRS, ResourceTemplate ()
			{
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					0, 0x0000, 0x00FF, 0, 0x0100)
				IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, 0x0000, 0x0CF7, 0, 0x0CF8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, 0x0D00, 0xFFFF, 0, 0xF300)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable,
					ReadWrite, 0, 0x000A0000, 0x000BFFFF, 0, 0x00020000)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable,
					ReadWrite, 0, 0x80000000, 0xDFFFFFFF, 0, 0x60000000)
			})

			/* INTx of device d, pin p arrives at input 16 + (d - 1 + p) % 4. */
			Name (APRT, Package ()
			{
				Package () { 0x0001FFFF, 0, Zero, 16 },
				Package () { 0x0001FFFF, 1, Zero, 17 },
				Package () { 0x0001FFFF, 2, Zero, 18 },
				Package () { 0x0001FFFF, 3, Zero, 19 },
				Package () { 0x0002FFFF, 0, Zero, 17 },
				Package () { 0x0002FFFF, 1, Zero, 18 },
				Package () { 0x0002FFFF, 2, Zero, 19 },
				Package () { 0x0002FFFF, 3, Zero, 16 },
				Package () { 0x0003FFFF, 0, Zero, 18 },
				Package () { 0x0003FFFF, 1, Zero, 19 },
				Package () { 0x0003FFFF, 2, Zero, 16 },
				Package () { 0x0003FFFF, 3, Zero, 17 },
				Package () { 0x0004FFFF, 0, Zero, 19 },
				Package () { 0x0004FFFF, 1, Zero, 16 },
				Package () { 0x0004FFFF, 2, Zero, 17 },
				Package () { 0x0004FFFF, 3, Zero, 18 },
				Package () { 0x0005FFFF, 0, Zero, 16 },
				Package () { 0x0005FFFF, 1, Zero, 17 },
				Package () { 0x0005FFFF, 2, Zero, 18 },
				Package () { 0x0005FFFF, 3, Zero, 19 },
				Package () { 0x0006FFFF, 0, Zero, 17 },
				Package () { 0x0006FFFF, 1, Zero, 18 },
				Package () { 0x0006FFFF, 2, Zero, 19 },
				Package () { 0x0006FFFF, 3, Zero, 16 },
			})

			/*
			 * Without the I/O APIC: OVMF programs PIRQA, B to 11 and C, D to 10.
			 * PIRQ of device d, pin p is (d - 1 + p) % 4.
			 */
			Name (PPRT, Package ()
			{
				Package () { 0x0001FFFF, 3, Zero, 10 },
				Package () { 0x0002FFFF, 0, Zero, 11 },
				Package () { 0x0003FFFF, 0, Zero, 10 },
				Package () { 0x0004FFFF, 0, Zero, 10 },
				Package () { 0x0005FFFF, 0, Zero, 11 },
				Package () { 0x0006FFFF, 0, Zero, 11 },
			})

			Method (_PRT, 0)
			{
				If (\PICM) { Return (APRT) }
				Return (PPRT)
			}

			Device (ISA)
			{
				Name (_ADR, 0x00010000)

				Device (RTC)
				{
					Name (_HID, EisaId ("PNP0B00"))
					Name (_CRS, ResourceTemplate ()
					{
						IO (Decode16, 0x0070, 0x0070, 0, 2)
						IRQNoFlags () { 8 }
					})
				}

				Device (COM1)
				{
					Name (_HID, EisaId ("PNP0501"))
					Name (_UID, 1)
					Name (_CRS, ResourceTemplate ()
					{
						IO (Decode16, 0x03F8, 0x03F8, 0, 8)
						IRQNoFlags () { 4 }
					})
				}
			}
		}

		Device (HPET)
		{
			Name (_HID, EisaId ("PNP0103"))
			Name (_CRS, ResourceTemplate ()
			{
				Memory32Fixed (ReadOnly, 0xFED00000, 0x00000400)
			})
		}
	}
}
