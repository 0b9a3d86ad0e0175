// Package qemu runs the machines of a simulated TrueNAS as QEMU processes, so
// that what was configured is what a real guest boots from.
//
//	machines, err := qemu.New(qemu.Options{})
//	nas, err := sim.New(sim.Config{Hypervisor: machines})
//
// A machine has the devices, the firmware, the UUID, the MACs, the serials and
// the boot order that the API received, and nothing else but a serial port and
// the channel of the guest agent. Its volumes and its seed stay in the simulator,
// which serves them to the process by NBD: a snapshot, a clone or a rollback
// means the same as ever.
//
// What may surprise: everything between the simulator and a process goes over
// sockets that the process inherits, so there is nothing on the disk and nothing
// that another program could connect to. The networks, too, are made in this
// package, a switch and a router for each interface of the NAS: no frame leaves
// the program, except by an interface that the options make an [Uplink]. A
// process dies with the program, however that ends.
package qemu
