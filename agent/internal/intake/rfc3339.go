package intake

import "time"

// parseTime reads RFC 3339 with a zone, to the µs; what is finer is cut off. It
// is as strict as the RFC: two digits each, a point before a fraction.
func parseTime(b []byte) (us int64, ok bool) {
	if len(b) < len("2006-01-02T15:04:05Z") || b[4] != '-' || b[7] != '-' || b[10] != 'T' && b[10] != 't' || b[13] != ':' || b[16] != ':' {
		return 0, false
	}
	century, ok1 := two(b[0:])
	year, ok2 := two(b[2:])
	month, ok3 := two(b[5:])
	day, ok4 := two(b[8:])
	hour, ok5 := two(b[11:])
	minute, ok6 := two(b[14:])
	second, ok7 := two(b[17:])
	year += 100 * century
	if !(ok1 && ok2 && ok3 && ok4 && ok5 && ok6 && ok7) || month < 1 || month > 12 || day < 1 || day > daysIn(month, year) || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	fraction, b, ok := fractionOf(b[19:])
	if !ok {
		return 0, false
	}
	zone, ok := zoneOf(b)
	at := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC).Unix() - zone
	return at*1_000_000 + fraction, ok
}

func two(b []byte) (int, bool) {
	x, y := b[0]-'0', b[1]-'0'
	return int(x)*10 + int(y), x <= 9 && y <= 9
}

func daysIn(month, year int) int {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// fractionOf reads .digits, in µs.
func fractionOf(b []byte) (us int64, rest []byte, ok bool) {
	if b[0] != '.' {
		return 0, b, true
	}
	i, unit := 1, int64(100_000)
	for ; i < len(b) && b[i] >= '0' && b[i] <= '9'; i++ {
		us += int64(b[i]-'0') * unit
		unit /= 10
	}
	return us, b[i:], i > 1 && i < len(b)
}

// zoneOf reads Z or ±hh:mm, in seconds.
func zoneOf(b []byte) (int64, bool) {
	if len(b) == 1 {
		return 0, b[0] == 'Z' || b[0] == 'z'
	}
	if len(b) != len("+00:00") || b[0] != '+' && b[0] != '-' || b[3] != ':' {
		return 0, false
	}
	h, ok1 := two(b[1:])
	m, ok2 := two(b[4:])
	s := int64(h)*3600 + int64(m)*60
	if b[0] == '-' {
		s = -s
	}
	return s, ok1 && ok2 && h <= 23 && m <= 59
}
