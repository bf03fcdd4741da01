package virtual

import (
	"math"
	"math/rand/v2"
	"time"

	pb "wardline/firmware-protocol/biosensorpb"
)

// PatientConfig describes one synthesised patient.
type PatientConfig struct {
	Identity
	Seed     uint64    // patients of one seed are one patient
	Leads    int       // ECG leads, 1 (II) or 2 (II and I), with respiration; 0: vitals only
	Episodes []Episode // those of this patient; their Sensor is not looked at
}

// Patient synthesises what a sensor on an adult sends: an ECG whose beats are
// those of the heart rate that it reports, respiration, SpO2, temperature,
// posture, contact and battery, all slowly varying inside normal limits
// except during episodes. The same configuration gives the same frames.
// It keeps no time of its own; it is not for use by several goroutines.
type Patient struct {
	head
	cfg   PatientConfig
	rng   *rand.Rand
	heart heart

	baseHR, baseRR, baseSpO2, baseTemp, baseBattery float64
	phase                                           [8]float64 // of the slow variations

	hr, spo2, temp float64 // as they are now, lagging behind where they tend
	breath         float64 // phase of respiration
	breathAt       int64   // µs of the last breath's begin; for the rate
	breaths        [4]int64
	nBreaths       int
	breathing      float64 // amplitude, 0 in apnoea

	posture            pb.Posture
	turnAt             int64 // µs of the next change of posture
	leadOff, lowBefore bool

	ecg, resp []int32
	respPhase int // samples until the next one of respiration
}

// NewPatient makes a patient at sensor clock 0.
func NewPatient(c PatientConfig) *Patient {
	rng := rand.New(rand.NewPCG(c.Seed, 0x77617264))
	p := &Patient{head: head{id: c.Identity}, cfg: c, rng: rng, breathing: 1}
	p.baseHR = 62 + 26*rng.Float64()
	p.baseRR = 13 + 5*rng.Float64()
	p.baseSpO2 = 96 + 2*rng.Float64()
	p.baseTemp = 36.4 + 0.6*rng.Float64()
	p.baseBattery = 70 + 30*rng.Float64()
	for i := range p.phase {
		p.phase[i] = 2 * math.Pi * rng.Float64()
	}
	p.hr, p.spo2, p.temp = p.baseHR, p.baseSpO2, p.baseTemp
	p.posture = pb.Posture_POSTURE_SUPINE
	p.turnAt = int64(300e6 + 1800e6*rng.Float64())
	p.heart = heart{rng: rng, next: int64(300_000 + 500_000*rng.Float64())}
	return p
}

// Step returns a frame of what the sensor measured in the next d, which is
// rounded to whole ECG samples where there is an ECG. The frame is the
// patient's own: it is valid until the next Step.
func (p *Patient) Step(d time.Duration) *pb.Frame {
	n := 0
	if p.cfg.Leads > 0 {
		n = samples(d)
		d = time.Duration(n) * SampleUS * time.Microsecond
	}
	begin := p.clockUS
	f := p.begin(d)
	t := time.Duration(begin) * time.Microsecond
	p.live(t, d, n)
	if n > 0 {
		p.drawECG(n, begin, t)
	}
	p.measure(t, p.clockUS)
	return f
}

// live moves the body on by d from t.
func (p *Patient) live(t, d time.Duration, n int) {
	on := func(k EpisodeKind) bool { return script(p.cfg.Episodes).on(k, t) }
	s, dt := t.Seconds(), d.Seconds()
	slow := func(i int, period, amount float64) float64 { return amount * math.Sin(2*math.Pi*s/period+p.phase[i]) }

	hr, hrLag := p.baseHR+slow(0, 640, 4)+slow(1, 83, 2), 8.0
	spo2, spo2Lag := p.baseSpO2+slow(2, 420, 0.8), 15.0
	temp := p.baseTemp + slow(3, 3600, 0.15)
	rr := p.baseRR + slow(4, 310, 1.2)
	if on(Desaturation) {
		spo2, spo2Lag, hr = 84, 6, hr+8
	}
	if on(Apnoea) {
		rr, spo2, spo2Lag = 0, 93, 60
	}
	if on(Fever) {
		temp, hr = 39.6, hr+12
	}
	if on(Tachycardia) {
		hr, hrLag = 156, 2
	}
	p.hr += (hr - p.hr) * lag(dt, hrLag)
	p.spo2 += (spo2 - p.spo2) * lag(dt, spo2Lag)
	p.temp += (temp - p.temp) * lag(dt, 20)

	bpm := p.hr
	if on(Asystole) {
		bpm = 0
	}
	p.canvas(n)
	begin := t.Microseconds()
	p.heart.run(begin, begin+d.Microseconds(), bpm, p.breath)
	p.breathe(begin, d.Microseconds(), rr, n)
}

// canvas makes room for the ECG that the heart draws ahead.
func (p *Patient) canvas(n int) {
	if n == 0 {
		return
	}
	for lead := range p.heart.drawn {
		for len(p.heart.drawn[lead]) < canvas(n) {
			p.heart.drawn[lead] = append(p.heart.drawn[lead], 0)
		}
	}
}

// lag is the share of the way gone in dt seconds with a time constant.
func lag(dt, constant float64) float64 { return 1 - math.Exp(-dt/constant) }

// The respiration waveform: impedance of the thorax, each tenth ECG sample.
const (
	respEvery = 10
	respScale = 10_000_000 // nΩ a count: 10 mΩ
	respOhm   = 0.6        // amplitude at rest
)

// breathe moves respiration on by us µs at rr a minute, drawing it on the way.
func (p *Patient) breathe(begin, us int64, rr float64, n int) {
	p.resp = p.resp[:0]
	steps := n
	if n == 0 {
		steps = int(us/250_000) + 1
	}
	step := float64(us) / float64(steps)
	for i := range steps {
		want := 1.0
		if rr == 0 {
			want = 0
		}
		p.breathing += (want - p.breathing) * lag(step/1e6, 0.6)
		before := p.breath
		p.breath += 2 * math.Pi * rr * step / 60e6
		if full := math.Floor(p.breath / (2 * math.Pi)); full > math.Floor(before/(2*math.Pi)) {
			over := (p.breath - full*2*math.Pi) / (2 * math.Pi * rr / 60e6)
			p.inhale(begin + int64(float64(i+1)*step-over))
		}
		if n == 0 {
			continue
		}
		if p.respPhase == 0 {
			p.resp = append(p.resp, int32(math.Round(p.breathing*respOhm*math.Sin(p.breath)*1e9/respScale)))
		}
		p.respPhase = (p.respPhase + 1) % respEvery
	}
}

func (p *Patient) inhale(at int64) {
	p.breaths[p.nBreaths%len(p.breaths)] = at - p.breathAt
	p.nBreaths++
	p.breathAt = at
}

// respRate is the rate of the last breaths or, once the pause since the last
// is longer than they were apart, that of the pause: it sinks as breathing stops.
func (p *Patient) respRate(now int64) (float64, pb.Validity) {
	if p.nBreaths < 3 {
		return 0, pb.Validity_VALIDITY_CALIBRATING
	}
	use := min(p.nBreaths-1, len(p.breaths)) // the first is no interval
	sum := int64(0)
	for i := 1; i <= use; i++ {
		sum += p.breaths[(p.nBreaths-i)%len(p.breaths)]
	}
	interval := max(float64(sum)/float64(use), float64(now-p.breathAt))
	return math.Round(60e6 / interval), pb.Validity_VALIDITY_VALID
}

// drawECG puts the waveforms of n samples into the frame.
func (p *Patient) drawECG(n int, begin int64, t time.Duration) {
	leads := []pb.Mdc{pb.Mdc_MDC_ECG_ELEC_POTL_II, pb.Mdc_MDC_ECG_ELEC_POTL_I}[:min(p.cfg.Leads, 2)]
	off := script(p.cfg.Episodes).on(LeadOff, t)
	for lead, code := range leads {
		p.ecg = p.ecg[:0]
		wander := 0.04 * p.breathing / float64(lead+1)
		step := 2 * math.Pi * p.baseRR * SampleUS / 60e6
		phase := step * float64(begin/SampleUS)
		for i := range n {
			mV := 0.006 * p.rng.NormFloat64()
			if !off {
				mV += p.heart.drawn[lead][i] + wander*math.Sin(phase+step*float64(i))
			}
			p.ecg = append(p.ecg, int32(math.Round(mV*1e6/ECGScale)))
		}
		p.wave(code, SampleUS, ECGScale, p.ecg)
	}
	p.heart.take(n)
	if len(p.resp) > 0 {
		first := (respEvery - int(begin/SampleUS)%respEvery) % respEvery
		p.wave(pb.Mdc_MDC_IMPED_TTHOR, respEvery*SampleUS, respScale, p.resp)
		p.frame.Waveforms[len(p.frame.Waveforms)-1].OffsetUs = uint32(first * SampleUS)
	}
}

// postures are those that a patient in bed takes.
var postures = []pb.Posture{pb.Posture_POSTURE_SUPINE, pb.Posture_POSTURE_LEFT, pb.Posture_POSTURE_RIGHT,
	pb.Posture_POSTURE_RECLINING, pb.Posture_POSTURE_UPRIGHT}

// measure puts readings, events and state at now (µs), the frame's end.
func (p *Patient) measure(t time.Duration, now int64) {
	on := func(k EpisodeKind) bool { return script(p.cfg.Episodes).on(k, t) }
	at := now - int64(p.frame.ClockUs)

	hr, hrIs := p.heart.rate.value(now)
	rr, rrIs := p.respRate(now)
	spo2Is := pb.Validity_VALIDITY_VALID
	if hrIs == pb.Validity_VALIDITY_NOT_FOUND {
		spo2Is = hrIs // without a pulse there is nothing to measure
	}
	off := on(LeadOff)
	if off {
		hrIs, rrIs = pb.Validity_VALIDITY_NO_CONTACT, pb.Validity_VALIDITY_NO_CONTACT
	}
	p.reading(pb.Mdc_MDC_ECG_HEART_RATE, pb.Mdc_MDC_DIM_BEAT_PER_MIN, at, hr, hrIs)
	p.reading(pb.Mdc_MDC_RESP_RATE, pb.Mdc_MDC_DIM_RESP_PER_MIN, at, rr, rrIs)
	p.reading(pb.Mdc_MDC_PULS_OXIM_SAT_O2, pb.Mdc_MDC_DIM_PERCENT, at, math.Round(p.spo2), spo2Is)
	p.reading(pb.Mdc_MDC_TEMP_SKIN, pb.Mdc_MDC_DIM_DEGC, at, math.Round(p.temp*10)/10, pb.Validity_VALIDITY_VALID)
	p.lie(now, at)
	p.electrodes(off, at)

	percent := max(p.baseBattery-float64(now)/(5*24*3600e6)*100, 1) // five days on a charge
	low := on(BatteryLow)
	if low {
		percent = min(percent, 8)
	}
	if low && !p.lowBefore {
		p.happened(pb.Event_KIND_BATTERY_LOW, at, int32(percent), "")
	}
	p.lowBefore = low
	p.battery(uint32(percent))
}

// lie turns the patient over when it is time.
func (p *Patient) lie(now, at int64) {
	if now >= p.turnAt {
		p.posture = postures[p.rng.IntN(len(postures))]
		p.turnAt = now + int64(600e6+1800e6*p.rng.Float64())
		p.happened(pb.Event_KIND_POSTURE, at, int32(p.posture), "")
	}
	p.state.Posture = p.posture
}

// electrodes says which leads are off, and when that changes.
func (p *Patient) electrodes(off bool, at int64) {
	leads, contact := uint32(0), pb.Contact_CONTACT_GOOD
	if off {
		leads, contact = 1, pb.Contact_CONTACT_POOR // RA
	}
	if off != p.leadOff {
		p.happened(pb.Event_KIND_LEAD_OFF, at, int32(leads), "")
	}
	p.leadOff = off
	p.contact(contact, leads)
}
