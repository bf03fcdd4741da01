package virtual

import (
	"strconv"
	"time"

	pb "wardline/firmware-protocol/biosensorpb"
	"wardline/shared/vital"
)

// appendJSON appends the JSON form (SPEC §7) of what f says besides its
// waveforms.
func appendJSON(dst []byte, f *pb.Frame) []byte {
	at := f.StartUs + int64(f.ClockUs)
	for _, r := range f.Readings {
		at = max(at, f.StartUs+int64(f.ClockUs)+int64(r.OffsetUs))
	}
	dst = append(dst, `{"t":"`...)
	dst = time.UnixMicro(at).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z07:00")
	dst = append(dst, `","seq":`...)
	dst = strconv.AppendUint(dst, uint64(f.Seq), 10)
	dst = append(dst, `,"boot":`...)
	dst = strconv.AppendUint(dst, uint64(f.Boot), 10)
	for _, r := range f.Readings {
		v, ok := vital.ByMDC(r.Vital)
		if !ok || r.Milli == nil {
			continue
		}
		dst = append(append(append(dst, `,"`...), v.String()...), `":`...)
		dst = strconv.AppendFloat(dst, float64(*r.Milli)/1000, 'f', -1, 64)
	}
	return append(appendState(dst, f.State), '}')
}

func appendState(dst []byte, s *pb.State) []byte {
	if s == nil {
		return dst
	}
	if s.Posture != pb.Posture_POSTURE_UNKNOWN {
		dst = append(append(append(dst, `,"posture":"`...), vital.PostureCode(s.Posture).String()...), '"')
	}
	if s.BatteryPercent != nil {
		dst = strconv.AppendFloat(append(dst, `,"battery":`...), float64(*s.BatteryPercent)/100, 'f', -1, 64)
	}
	if s.LeadsOff != nil {
		dst = append(dst, `,"leads_off":[`...)
		for i, name := range vital.Leads(*s.LeadsOff).Names() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(append(append(dst, '"'), name...), '"')
		}
		dst = append(dst, ']')
	}
	if s.Contact != pb.Contact_CONTACT_UNKNOWN {
		dst = strconv.AppendBool(append(dst, `,"contact":`...), s.Contact == pb.Contact_CONTACT_GOOD)
	}
	return dst
}
