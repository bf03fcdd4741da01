package frame

import "time"

// The limits of SPEC §9. Both ends test them from the same vectors.
const (
	MaxWire            = 16 << 10              // §9.1 bytes of a message
	MaxBody            = MaxWire - 64          // §9.2 bytes of a body
	MaxWaveforms       = 8                     // §9.3
	MaxReadings        = 64                    // §9.4
	MaxEvents          = 32                    // §9.5
	MaxSamples         = 4096                  // §9.7 of a waveform
	MaxFrameSamples    = 8192                  // §9.8 of all waveforms of a frame
	MinSample          = -1 << 23              // §9.9 counts
	MaxSample          = 1<<23 - 1             // §9.9 counts
	MinIntervalUS      = 100                   // §9.10 µs a sample: 10 kHz
	MaxIntervalUS      = 10_000_000            // §9.10
	MaxIntervalDen     = 1_000_000             // §9.10
	MaxScale           = 1_000_000_000         // §9.11 one unit a count
	MaxSpanUS          = 60_000_000            // §9.12 from clock_us to the last thing in the frame
	MaxNote            = 16                    // §9.14 bytes
	MaxClockUS         = 1 << 48               // §9.15 µs, almost nine years of one boot
	MinStartUS         = 631_152_000_000_000   // §9.15: 1990-01-01
	MaxStartUS         = 4_102_444_800_000_000 // §9.15: 2100-01-01
	MaxRequestSeqs     = 100                   // §9.16
	MaxRequestRange    = 10_000                // §9.16
	MaxIdentifySeconds = 60                    // §9.16
	MaxJSON            = 4 << 10               // §9.17 bytes
	MinKey             = 16                    // §9.18 bytes
	MaxKey             = 64                    // §9.18
	MaxID              = 32                    // §2 bytes of a relay's, sensor's, ward's or bed's id
	MaxRelayState      = 4 << 10               // §9.19 bytes
)

// The bounds of §5, against the gateway's clock.
const (
	MaxFuture = 5 * time.Second    // further ahead is set aside
	LiveFor   = 10 * time.Second   // older is history and marked late
	MaxAge    = 7 * 24 * time.Hour // older is set aside
)
