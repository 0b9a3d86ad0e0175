package sim

import "strconv"

// Error numbers of Linux that TrueNAS uses, and two of its own.
const (
	ePERM             = 1
	eNOENT            = 2
	eIO               = 5
	eBADF             = 9
	eAGAIN            = 11
	eNOMEM            = 12
	eACCES            = 13
	eFAULT            = 14
	eBUSY             = 16
	eEXIST            = 17
	eNODEV            = 19
	eNOTDIR           = 20
	eISDIR            = 21
	eINVAL            = 22
	eNOSPC            = 28
	eNAMETOOLONG      = 36
	eNOTEMPTY         = 39
	eOPNOTSUPP        = 95
	eTIMEDOUT         = 110
	eBADMSG           = 74
	eNOMETHOD         = 201 // middlewared's own, as the next
	eNOTAUTHENTICATED = 207
)

// errnoName returns the symbol of an error number, which a reason contains in brackets.
func errnoName(errno int) string {
	switch errno {
	case ePERM:
		return "EPERM"
	case eNOENT:
		return "ENOENT"
	case eIO:
		return "EIO"
	case eBADF:
		return "EBADF"
	case eAGAIN:
		return "EAGAIN"
	case eNOMEM:
		return "ENOMEM"
	case eACCES:
		return "EACCES"
	case eFAULT:
		return "EFAULT"
	case eBUSY:
		return "EBUSY"
	case eEXIST:
		return "EEXIST"
	case eNODEV:
		return "ENODEV"
	case eNOTDIR:
		return "ENOTDIR"
	case eISDIR:
		return "EISDIR"
	case eINVAL:
		return "EINVAL"
	case eNOSPC:
		return "ENOSPC"
	case eNAMETOOLONG:
		return "ENAMETOOLONG"
	case eNOTEMPTY:
		return "ENOTEMPTY"
	case eOPNOTSUPP:
		return "EOPNOTSUPP"
	case eTIMEDOUT:
		return "ETIMEDOUT"
	case eBADMSG:
		return "EBADMSG"
	case eNOMETHOD:
		return "ENOMETHOD"
	case eNOTAUTHENTICATED:
		return "ENOTAUTHENTICATED"
	}
	return strconv.Itoa(errno)
}
