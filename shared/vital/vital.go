// Package vital says what is measured: the vital signs, their names, codes and
// units, the range a body can plausibly have, and a single Reading.
//
// It is the bottom of the tree: both tiers and the firmware protocol mean the
// same by a vital because they all mean this table. It decides nothing: limits
// belong to rule packs, validity to the frame or message that carried a value.
package vital

import "math"

// Vital names what is measured. The zero value is no vital.
type Vital uint8

// The vitals that Wardline knows, in the order in which they are shown.
// The numbers are written to disk and to the link: append, never renumber.
const (
	HeartRate   Vital = 1 // beats from the ECG
	SpO2        Vital = 2 // oxygen saturation by pulse oximetry
	RespRate    Vital = 3 // breaths
	Temperature Vital = 4 // skin or body temperature
	Pulse       Vital = 5 // beats from the pulse oximeter
	Posture     Vital = 6 // a PostureCode
	Battery     Vital = 7 // the sensor's battery, as a share
)

// Meaning is what a vital's name stands for, on every screen and wire.
type Meaning struct {
	Vital    Vital
	Name     string  // in rules, JSON and the API: hr, rr, spo2 …
	Label    string  // on a screen: HR, SpO2 …
	MDC      uint32  // IEEE 11073-10101 code, 0 where the standard has none
	MDCName  string  // its reference identifier
	LOINC    string  // LOINC code, "" where there is none
	Unit     string  // UCUM: /min, %, Cel, 1
	UnitMDC  uint32  // IEEE 11073-10101 unit code, 0 for none
	Min, Max float64 // plausible range, inclusive; outside it a value is not a measurement
	Decimals int     // digits after the point that mean something
}

// The codes are those of IEEE 11073-10101:2004 (code = partition·65536 + term)
// and of LOINC. The ranges are what the sensors' makers state that they can
// measure, widened to what an adult survives; they catch faults, not illness.
var meanings = [...]Meaning{
	HeartRate:   {HeartRate, "hr", "HR", 147842, "MDC_ECG_HEART_RATE", "8867-4", "/min", 264864, 15, 350, 0},
	SpO2:        {SpO2, "spo2", "SpO2", 150456, "MDC_PULS_OXIM_SAT_O2", "59408-5", "%", 262688, 1, 100, 0},
	RespRate:    {RespRate, "rr", "RR", 151562, "MDC_RESP_RATE", "9279-1", "/min", 264928, 0, 90, 0},
	Temperature: {Temperature, "temp", "T", 150388, "MDC_TEMP_SKIN", "8310-5", "Cel", 268192, 20, 45, 1},
	Pulse:       {Pulse, "pulse", "PR", 149530, "MDC_PULS_OXIM_PULS_RATE", "8867-4", "/min", 264864, 15, 350, 0},
	Posture:     {Posture, "posture", "Posture", 0, "", "", "1", 0, 1, 10, 0},
	Battery:     {Battery, "battery", "Battery", 0, "", "", "1", 0, 0, 1, 2},
}

// Count is one more than the highest Vital: the length of an array indexed by Vital.
const Count = len(meanings)

var byName, byMDC = func() (map[string]Vital, map[uint32]Vital) {
	n, m := map[string]Vital{}, map[uint32]Vital{}
	for _, x := range meanings[1:] {
		n[x.Name] = x.Vital
		if x.MDC != 0 {
			m[x.MDC] = x.Vital
		}
	}
	// Other codes that sensors use for the same thing.
	m[149514] = Pulse       // MDC_PULS_RATE
	m[151578] = RespRate    // MDC_TTHOR_RESP_RATE, by impedance
	m[150344] = Temperature // MDC_TEMP
	m[150364] = Temperature // MDC_TEMP_BODY
	return n, m
}()

// All lists every vital's meaning in the order in which they are shown.
func All() []Meaning { return append([]Meaning(nil), meanings[1:]...) }

// Valid reports whether v is a vital of the table.
func (v Vital) Valid() bool { return v > 0 && int(v) < Count }

// Meaning is v's row of the table; the zero Meaning when v is not Valid.
func (v Vital) Meaning() Meaning {
	if !v.Valid() {
		return Meaning{}
	}
	return meanings[v]
}

// String is v's name in rules, JSON and the API.
func (v Vital) String() string { return v.Meaning().Name }

// MarshalText writes v's name.
func (v Vital) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// UnmarshalText reads a vital's name.
func (v *Vital) UnmarshalText(b []byte) error {
	x, ok := byName[string(b)]
	if !ok {
		return unknownError(b)
	}
	*v = x
	return nil
}

type unknownError string

func (e unknownError) Error() string { return "no vital is called " + string(e) }

// ByName finds the vital that rules and JSON call name.
func ByName(name string) (Vital, bool) { v, ok := byName[name]; return v, ok }

// ByMDC finds the vital with an IEEE 11073-10101 code, including the codes that
// sensors use for variants of the same vital.
func ByMDC(code uint32) (Vital, bool) { v, ok := byMDC[code]; return v, ok }

// Plausible reports whether value can be a measurement of v at all.
func (v Vital) Plausible(value float64) bool {
	m := v.Meaning()
	return v.Valid() && !math.IsNaN(value) && value >= m.Min && value <= m.Max
}

// Reading is one value of one vital at one instant, as a sensor gave it.
// A reading that was invalid is absent: there is no magic value.
type Reading struct {
	Vital   Vital
	Quality uint8   // 0 worst to 100 best; 100 where the sensor says nothing
	At      int64   // when it was measured: µs since 1970 UTC, by the sensor's clock
	Value   float64 // in the vital's unit
}
