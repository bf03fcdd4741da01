package alert

// Correct passes every time of the event through fix, for one that was stamped by
// a clock that was wrong. Its alert's identity stays.
func (e *Event) Correct(fix func(int64) int64) {
	e.At = fix(e.At)
	if e.Until != 0 {
		e.Until = fix(e.Until)
	}
	if e.Condition != nil {
		c := e.Condition.Corrected(fix)
		e.Condition = &c
	}
}

// Corrected is the condition with its times passed through fix.
func (c Condition) Corrected(fix func(int64) int64) Condition {
	c.Onset = fix(c.Onset)
	evidence := make([]Evidence, len(c.Evidence))
	for i, x := range c.Evidence {
		if x.At != 0 {
			x.At = fix(x.At)
		}
		evidence[i] = x
	}
	c.Evidence = evidence
	return c
}
