package xz

// Parameters of LZMA's range coder: probabilities have 11 bits and move by a 32nd.
const (
	probBits    = 11
	probInitial = 1 << (probBits - 1)
	moveBits    = 5
	rangeTop    = 1 << 24
	// roundUp makes a negative step round the way the positive one does, see [rangeCoder.tree].
	roundUp = 1<<moveBits - 1 - 1<<probBits
)

// maxInput is the length of the longest compressed chunk. Some room behind it lets a symbol be decoded without
// looking for the end of the input at every bit.
const (
	maxInput  = 1 << 16
	inputRoom = 64
)

// prob is the probability that a bit is zero.
type prob = uint16

// rangeCoder decodes bits from one chunk, which is all in memory.
//
// Its methods keep range and code in registers while they decode several bits, and choose between the outcomes by
// masks rather than by branches: literals are close to noise, and a processor guesses them wrong about as often as right.
type rangeCoder struct {
	rng, code uint32
	pos       int // of in
	end       int // of the chunk
	in        [maxInput + inputRoom]byte
}

// start reads the first code of a chunk of n bytes, which are in place.
func (r *rangeCoder) start(n int) {
	clear(r.in[n:][:inputRoom])
	r.rng = 1<<32 - 1
	r.code = uint32(r.in[1])<<24 | uint32(r.in[2])<<16 | uint32(r.in[3])<<8 | uint32(r.in[4])
	r.pos, r.end = 5, n
}

// normalize reads another byte if the range has become small.
func (r *rangeCoder) normalize() {
	if r.rng < rangeTop {
		r.rng <<= 8
		r.code = r.code<<8 | uint32(r.in[r.pos])
		r.pos++
	}
}

// bit decodes one bit.
func (r *rangeCoder) bit(p *prob) bool {
	rng, code := r.rng, r.code
	if rng < rangeTop {
		rng <<= 8
		code = code<<8 | uint32(r.in[r.pos])
		r.pos++
	}
	v := uint32(*p)
	bound := rng >> probBits * v
	if code < bound {
		r.rng, r.code = bound, code
		*p = prob(v + (1<<probBits-v)>>moveBits)
		return false
	}
	r.rng, r.code = rng-bound, code-bound
	*p = prob(v - v>>moveBits)
	return true
}

// tree decodes a number of several bits, the highest first. Each bit's probability depends on the bits before it:
// probs is a binary tree in an array, and the path through it, which starts at 1, is the number with a one before it.
// It ends at limit.
func (r *rangeCoder) tree(probs []prob, limit uint32) uint32 {
	rng, code, pos := r.rng, r.code, r.pos
	probs = probs[:limit]
	path := uint32(1)
	for path < uint32(len(probs)) {
		if rng < rangeTop {
			rng <<= 8
			code = code<<8 | uint32(r.in[pos])
			pos++
		}
		p := int32(probs[path])
		bound := rng >> probBits * uint32(p)
		zero := uint32(int64(uint64(code)-uint64(bound)) >> 63) // all ones if the bit is zero
		rng -= bound
		rng ^= (rng ^ bound) & zero
		code -= bound &^ zero
		probs[path] = prob(p - (p+int32(zero)&roundUp)>>moveBits)
		path = path<<1 + 1 + zero
	}
	r.rng, r.code, r.pos = rng, code, pos
	return path - limit
}

// matched decodes a literal that follows a match: as long as its bits are those of the byte that would have continued
// the match, other probabilities hold.
func (r *rangeCoder) matched(probs *[literalProbs]prob, continued uint32) byte {
	rng, code, pos := r.rng, r.code, r.pos
	path, offset := uint32(1), uint32(0x100)
	for path < 0x100 {
		if rng < rangeTop {
			rng <<= 8
			code = code<<8 | uint32(r.in[pos])
			pos++
		}
		continued <<= 1
		expected := continued & offset
		at := offset + expected + path
		p := int32(probs[at])
		bound := rng >> probBits * uint32(p)
		zero := uint32(int64(uint64(code)-uint64(bound)) >> 63)
		rng -= bound
		rng ^= (rng ^ bound) & zero
		code -= bound &^ zero
		probs[at] = prob(p - (p+int32(zero)&roundUp)>>moveBits)
		path = path<<1 + 1 + zero
		offset &= expected ^ zero // stays while the bit is the expected one
	}
	r.rng, r.code, r.pos = rng, code, pos
	return byte(path)
}

// reverse decodes a number of n bits, the lowest first.
func (r *rangeCoder) reverse(probs []prob, n uint32) uint32 {
	path, value := 1, uint32(0)
	for i := range n {
		if r.bit(&probs[path]) {
			path = path<<1 + 1
			value |= 1 << i
		} else {
			path <<= 1
		}
	}
	return value
}

// direct decodes a number of n bits that are as likely zero as one, the highest first.
func (r *rangeCoder) direct(n uint32) uint32 {
	rng, code, pos := r.rng, r.code, r.pos
	value := uint32(0)
	for range n {
		if rng < rangeTop {
			rng <<= 8
			code = code<<8 | uint32(r.in[pos])
			pos++
		}
		rng >>= 1
		code -= rng
		zero := uint32(int32(code) >> 31)
		code += rng & zero
		value = value<<1 + 1 + zero
	}
	r.rng, r.code, r.pos = rng, code, pos
	return value
}

// finished reports whether the chunk ended where its encoder left it.
func (r *rangeCoder) finished() bool {
	return r.pos == r.end && r.code == 0
}
