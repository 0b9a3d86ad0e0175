// Package qemu runs the machines of a simulated TrueNAS as QEMU processes, so that a real guest boots from the configuration.
//
//	machines, err := qemu.New(qemu.Options{})
//	nas, err := sim.New(sim.Config{Hypervisor: machines})
//
// A machine has the devices, the firmware, the UUID, the MACs, the serials and the boot order that the API received, and in
// addition only a serial port and the channel of the guest agent. Its volumes and its seed stay in the simulator, which serves
// them to the process by NBD: a snapshot, a clone or a rollback works as usual.
//
// One thing surprises: all connections between the simulator and a process are sockets that the process inherits, so there are
// no files, and other programs cannot connect. The networks are part of this package, too, with a switch and a router for each
// interface of the NAS: no frame leaves the program, except through an interface that the options make an [Uplink]. A process
// ends with the program, even if the program is killed.
package qemu
