package xz

// Parameters of LZMA.
const (
	stateCount   = 12
	posStates    = 16
	literalProbs = 0x300
	maxLiterals  = 16 // literal coders: lc + lp is at most 4
	lenLow       = 8
	lenMid       = 8
	lenHigh      = 256
	minMatch     = 2
	lenStates    = 4
	distSlots    = 64
	alignBits    = 4
	fullDist     = 128 // distances below have a probability for each of their bits
	firstModel   = 4   // distance slots below are distances themselves
	endModel     = 14  // distance slots from here on have direct bits
	literalUntil = 7   // states below follow a literal
)

// lenCoder decodes the lengths of matches.
type lenCoder struct {
	choice, choice2 prob
	low             [posStates][lenLow]prob
	mid             [posStates][lenMid]prob
	high            [lenHigh]prob
}

// lzma is the state of an LZMA decoder, and what it decodes into.
type lzma struct {
	rc rangeCoder

	// buf holds what matches may refer to, and what comes after it. pos is where the next byte goes. A multiple of 16
	// bytes has been dropped before buf, so that positions count alike.
	buf      []byte
	pos      int
	dictSize int

	state                  uint32
	rep0, rep1, rep2, rep3 uint32
	lc                     uint32
	literalMask, posMask   int

	isMatch, isRep0Long [stateCount][posStates]prob
	isRep, isRep0       [stateCount]prob
	isRep1, isRep2      [stateCount]prob
	slots               [lenStates][distSlots]prob
	special             [fullDist]prob
	align               [1 << alignBits]prob
	matchLen, repeatLen lenCoder
	literals            [maxLiterals][literalProbs]prob
}

// setProperties takes the byte that holds lc, lp and pb, and reports whether it is one.
func (l *lzma) setProperties(b byte) bool {
	if b >= 9*5*5 {
		return false
	}
	lc, lp, pb := b%9, b/9%5, b/45
	if lc+lp > 4 {
		return false
	}
	l.lc, l.literalMask, l.posMask = uint32(lc), 1<<lp-1, 1<<pb-1
	return true
}

// reset forgets what was learnt.
func (l *lzma) reset() {
	l.state = 0
	l.rep0, l.rep1, l.rep2, l.rep3 = 0, 0, 0, 0
	fill := func(probs []prob) {
		for i := range probs {
			probs[i] = probInitial
		}
	}
	for _, table := range []*[stateCount][posStates]prob{&l.isMatch, &l.isRep0Long} {
		for i := range table {
			fill(table[i][:])
		}
	}
	for i := range l.slots {
		fill(l.slots[i][:])
	}
	for i := range l.literals {
		fill(l.literals[i][:])
	}
	for _, table := range [][]prob{l.isRep[:], l.isRep0[:], l.isRep1[:], l.isRep2[:], l.special[:], l.align[:]} {
		fill(table)
	}
	for _, c := range []*lenCoder{&l.matchLen, &l.repeatLen} {
		c.choice, c.choice2 = probInitial, probInitial
		fill(c.high[:])
		for i := range posStates {
			fill(c.low[i][:])
			fill(c.mid[i][:])
		}
	}
}

// decode fills buf up to limit, and reports whether the data allowed it.
func (l *lzma) decode(limit int) bool {
	for l.pos < limit {
		if l.rc.pos > l.rc.end {
			return false
		}
		posState := l.pos & l.posMask & (posStates - 1)
		switch {
		case !l.rc.bit(&l.isMatch[l.state][posState]):
			if !l.literal() {
				return false
			}
			continue
		case !l.rc.bit(&l.isRep[l.state]):
			l.rep3, l.rep2, l.rep1 = l.rep2, l.rep1, l.rep0
			length := l.length(&l.matchLen, posState)
			l.rep0 = l.distance(length)
			l.state = after(l.state, 7, 10)
			if !l.copyMatch(length, limit) {
				return false
			}
		case !l.repeat(posState, limit):
			return false
		}
	}
	l.rc.normalize()
	return true
}

// after is the state that follows a match: one number after literals, another after matches.
func after(state, literal, match uint32) uint32 {
	if state < literalUntil {
		return literal
	}
	return match
}

// literal decodes a byte that is no match.
func (l *lzma) literal() bool {
	previous := byte(0)
	if l.pos > 0 {
		previous = l.buf[l.pos-1]
	}
	coder := uint32(l.pos&l.literalMask)<<l.lc + uint32(previous)>>(8-l.lc)
	probs := &l.literals[coder&(maxLiterals-1)]
	if l.state < literalUntil {
		l.buf[l.pos] = byte(l.rc.tree(probs[:], 0x100))
	} else {
		from := l.pos - int(l.rep0) - 1
		if from < 0 {
			return false
		}
		l.buf[l.pos] = l.rc.matched(probs, uint32(l.buf[from]))
	}
	l.pos++
	switch {
	case l.state < 4:
		l.state = 0
	case l.state < 10:
		l.state -= 3
	default:
		l.state -= 6
	}
	return true
}

// repeat decodes a match at one of the last four distances.
func (l *lzma) repeat(posState, limit int) bool {
	if !l.rc.bit(&l.isRep0[l.state]) {
		if !l.rc.bit(&l.isRep0Long[l.state][posState]) {
			l.state = after(l.state, 9, 11)
			return l.copyMatch(1, limit)
		}
	} else {
		distance := l.rep1
		if l.rc.bit(&l.isRep1[l.state]) {
			distance = l.rep2
			if l.rc.bit(&l.isRep2[l.state]) {
				distance = l.rep3
				l.rep3 = l.rep2
			}
			l.rep2 = l.rep1
		}
		l.rep1, l.rep0 = l.rep0, distance
	}
	length := l.length(&l.repeatLen, posState)
	l.state = after(l.state, 8, 11)
	return l.copyMatch(length, limit)
}

// length decodes the length of a match.
func (l *lzma) length(c *lenCoder, posState int) int {
	switch {
	case !l.rc.bit(&c.choice):
		return minMatch + int(l.rc.tree(c.low[posState][:], lenLow))
	case !l.rc.bit(&c.choice2):
		return minMatch + lenLow + int(l.rc.tree(c.mid[posState][:], lenMid))
	}
	return minMatch + lenLow + lenMid + int(l.rc.tree(c.high[:], lenHigh))
}

// distance decodes how far back a match of some length lies, less one.
func (l *lzma) distance(length int) uint32 {
	slot := l.rc.tree(l.slots[min(length-minMatch, lenStates-1)][:], distSlots)
	if slot < firstModel {
		return slot
	}
	bits := slot>>1 - 1
	distance := (2 | slot&1) << bits
	if slot < endModel {
		return distance + l.rc.reverse(l.special[distance-slot:], bits)
	}
	distance += l.rc.direct(bits-alignBits) << alignBits
	return distance + l.rc.reverse(l.align[:], alignBits)
}

// copyMatch repeats length bytes from the last distance. A match may overlap itself: it then repeats what it has just
// written.
func (l *lzma) copyMatch(length, limit int) bool {
	distance := int(l.rep0) + 1
	if distance > l.pos || distance > l.dictSize || length > limit-l.pos {
		return false
	}
	to := l.buf[l.pos : l.pos+length]
	from := l.buf[l.pos-distance:]
	l.pos += length
	if distance >= length {
		copy(to, from[:length])
		return true
	}
	for n := 0; n < length; {
		n += copy(to[n:], l.buf[l.pos-length-distance:l.pos-length+n])
	}
	return true
}
