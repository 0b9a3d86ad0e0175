package truenas

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// JSON-RPC codes that TrueNAS uses.
const (
	codeTooManyCalls  = -32000
	codeCallFailed    = -32001
	codeInvalidParams = -32602
	codeNoSuchMethod  = -32601
)

// Numbers as Linux has them, and TrueNAS's own.
const (
	ePERM             = 1
	eNOENT            = 2
	eNOMEM            = 12
	eACCES            = 13
	eBUSY             = 16
	eEXIST            = 17
	eINVAL            = 22
	eNOSPC            = 28
	eNOTEMPTY         = 39
	eDQUOT            = 122
	eNOTAUTHENTICATED = 207
)

// matchNotFound is the class of what a query with get answers to no match; its
// number is EINVAL.
const matchNotFound = "MatchNotFound"

// kindOfErrno holds for failed calls, jobs and validation errors alike. EINVAL,
// EFAULT and EAGAIN are missing because TrueNAS uses them for anything.
var kindOfErrno = map[int]error{
	eNOENT:            ErrNotFound,
	eEXIST:            ErrExists,
	eBUSY:             ErrBusy,
	eNOMEM:            ErrNoMemory,
	eNOSPC:            ErrNoSpace,
	eDQUOT:            ErrNoSpace,
	ePERM:             ErrPermission,
	eACCES:            ErrPermission,
	eNOTEMPTY:         ErrNotEmpty,
	eNOTAUTHENTICATED: ErrAuth,
}

// errnoNames are those that TrueNAS puts before or into a text, "[ENOENT] …".
var errnoNames = map[string]int{
	"EPERM": ePERM, "ENOENT": eNOENT, "ENOMEM": eNOMEM, "EACCES": eACCES, "EBUSY": eBUSY,
	"EEXIST": eEXIST, "EINVAL": eINVAL, "ENOSPC": eNOSPC, "ENOTEMPTY": eNOTEMPTY, "EDQUOT": eDQUOT,
	"ENOTAUTHENTICATED": eNOTAUTHENTICATED,
}

// kindOfText is read in this order; the texts are in lower case. What depends
// on a snapshot comes before "busy", because ZFS reports it as busy too. A hold
// comes before everything: the text that reports it goes on with "dataset
// already exists".
var kindOfText = []struct {
	text string
	kind error
}{
	{"being held", ErrHeld},
	{"following holds", ErrHeld},
	{"there are holds", ErrHeld},
	{"dependent clone", ErrHasClones},
	{"is cloned", ErrHasClones},
	{"following clones", ErrHasClones},
	{"there are clones", ErrHasClones},
	{"has clones", ErrHasClones},
	{"have clones", ErrHasClones},
	{"has dependents", ErrHasClones},
	{"dependent dataset", ErrHasClones},
	{"clones of previous snapshots exist", ErrHasClones},
	{"failed to connect to libvirt", ErrUnavailable},
	{"libvirt-sock", ErrUnavailable},
	{"client socket is closed", ErrUnavailable},
	{"cannot guarantee memory", ErrNoMemory},
	{"more than 80%", ErrNoSpace},
	{"80% of", ErrNoSpace},
	{"out of space", ErrNoSpace},
	{"no space left", ErrNoSpace},
	{"not enough space", ErrNoSpace},
	{"insufficient space", ErrNoSpace},
	{"greater than available space", ErrNoSpace},
	{"does not have snapshots but has data", ErrExists}, // of the target of a replication
	{"no incremental base on dataset", ErrExists},
	{"already exists", ErrExists},
	{"is already defined with uuid", ErrExists},
	{"already configured", ErrExists},
	{"already has a nic with mac address", ErrExists}, // from 26 on
	{"already defined with uuid", ErrExists},
	{"already running", ErrActive},
	{"is already active", ErrActive},
	{"please stop", ErrActive},
	{"when vm is inactive", ErrActive},
	{"vm state is currently not", ErrInactive},
	{"device(s) are not available", ErrNoDevice}, // up to 25.10
	{"cannot start domain", ErrNoDevice},         // from 26 on
	{"not running", ErrInactive},
	{"is not active", ErrInactive},
	{"directory not empty", ErrNotEmpty},
	{"has children", ErrNotEmpty},
	{`failed to get "write" lock`, ErrBusy},
	{`failed to get shared "write" lock`, ErrBusy},
	{"is busy", ErrBusy},
	{"resource busy", ErrBusy},
	{"in use by", ErrBusy},
	{"currently in use", ErrBusy},
	{"not authenticated", ErrAuth},
	{"does not exist", ErrNotFound},
	{"matchnotfound", ErrNotFound},
	{"no such file", ErrNotFound},
	{"not found", ErrNotFound},
}

// qemuFailed begins the text of a conversion that failed. Its number is the exit status of the program, which is 1 whatever went
// wrong, and not EPERM.
const qemuFailed = "qemu-img convert failed"

// classify is the only place that looks at numbers and texts of errors. It
// answers nil when TrueNAS only says that something went wrong.
func classify(e *Error) error {
	switch e.Code {
	case codeTooManyCalls:
		return ErrUnavailable
	case codeNoSuchMethod:
		return ErrUnsupported
	}
	if e.Name == matchNotFound {
		return ErrNotFound
	}
	if e.Code == codeInvalidParams || len(e.Fields) > 0 {
		return classifyFields(e)
	}
	if kind := ofText(e.Reason); dependents(kind) {
		return kind
	}
	if strings.Contains(e.Reason, qemuFailed) {
		return ofText(e.Reason)
	}
	if kind := kindOfErrno[e.Errno]; kind != nil {
		return kind
	}
	if kind := kindOfErrno[bracketed(e.Reason)]; kind != nil {
		return kind
	}
	if kind := ofText(e.Reason); kind != nil {
		return kind
	}
	if e.Errno == eINVAL || bracketed(e.Reason) == eINVAL {
		return ErrInvalid
	}
	return nil
}

// classifyFields: what every field agrees on, or else plainly invalid. A
// missing instance is a validation error too, [null, "VM 1 does not exist", 2].
func classifyFields(e *Error) error {
	var agreed error
	for _, f := range e.Fields {
		kind := ofField(f)
		if agreed != nil && kind != agreed {
			return ErrInvalid
		}
		agreed = kind
	}
	if agreed == nil && len(e.Fields) == 0 {
		agreed = kindOfErrno[bracketed(e.Reason)]
	}
	if agreed == nil {
		return ErrInvalid
	}
	return agreed
}

// dependents says whether a text names what hangs on a snapshot. That is more
// than the number beside it says, which is EBUSY or ENOTEMPTY.
func dependents(kind error) bool { return kind == ErrHasClones || kind == ErrHeld }

func ofField(f FieldError) error {
	if kind := ofText(f.Message); dependents(kind) {
		return kind
	}
	if kind := kindOfErrno[f.Errno]; kind != nil {
		return kind
	}
	if kind := kindOfErrno[bracketed(f.Message)]; kind != nil {
		return kind
	}
	switch kind := ofText(f.Message); kind {
	case ErrExists, ErrNoSpace, ErrNoMemory, ErrBusy, ErrHasClones, ErrActive, ErrInactive:
		return kind
	}
	return ErrInvalid // "X not found" in a field's text is a bad value of that field
}

func ofText(text string) error {
	text = strings.ToLower(text)
	if noDomain(text) {
		return ErrInactive
	}
	for _, row := range kindOfText {
		if strings.Contains(text, row.text) {
			return row.kind
		}
	}
	return nil
}

// noDomain tells whether libvirt has no domain of a machine: from 26 on because
// it was never started, before because TrueNAS could not define one.
func noDomain(text string) bool {
	return strings.Contains(text, "domain ") && strings.HasSuffix(strings.TrimSpace(text), " does not exist")
}

// bracketed is the number that a "[ENAME]" in a text stands for. The last one
// counts: an error that wraps another begins with "[EFAULT]".
func bracketed(text string) int {
	found := 0
	for {
		_, after, ok := strings.Cut(text, "[E")
		if !ok {
			return found
		}
		name, _, closed := strings.Cut(after, "]")
		if n := errnoNames["E"+name]; closed && n != 0 {
			found = n
		}
		text = after
	}
}

// definedAs is how libvirt names the domain that has a UUID already; the number
// is the VM's.
var definedAs = regexp.MustCompile(`domain '(\d+)_[^']*' is already defined with uuid`)

// DefinedAs answers the number of the VM that has the UUID for which vm.create
// was refused. TrueNAS keeps the record that it made for the refused call.
func DefinedAs(err error) (vm int64, ok bool) {
	var e *Error
	if !errors.As(err, &e) {
		return 0, false
	}
	found := definedAs.FindStringSubmatch(e.Reason)
	if found == nil {
		return 0, false
	}
	vm, err = strconv.ParseInt(found[1], 10, 64)
	return vm, err == nil
}
