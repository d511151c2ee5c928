# RouterOS 7.20, routeros/x86: container probe
# Made by polyarch; not run on a device. Marks: confirmed, reported, inferred.
# confirmed: the veth must be there before the container
:if ([:len [/interface/veth/find where name=probe]] = 0) do={ /interface/veth/add name=probe address=172.17.0.2/24 gateway=172.17.0.1 }
:if ([:len [/interface/bridge/find where name=containers]] = 0) do={ /interface/bridge/add name=containers }
:if ([:len [/ip/address/find where interface=containers]] = 0) do={ /ip/address/add address=172.17.0.1/24 interface=containers }
:if ([:len [/interface/bridge/port/find where interface=probe]] = 0) do={ /interface/bridge/port/add bridge=containers interface=probe }
# reported: FAT32 does not serve; the folder is not made beforehand and is no mount point
# confirmed: an entry's `name` became `list` with 7.20
:if ([:len [/container/envs/find where list=probe key=A]] = 0) do={ /container/envs/add list=probe key=A value=1 }
:if ([:len [/container/envs/find where list=probe key=QUOTED]] = 0) do={ /container/envs/add list=probe key=QUOTED value="a \"b\" \$c\? \C3\A9" }
:if ([:len [/container/mounts/find where name=probe-1 dst=/data]] = 0) do={ /container/mounts/add name=probe-1 src=disk1/data dst=/data }
:if ([:len [/container/mounts/find where name=probe-2 dst=/b]] = 0) do={ /container/mounts/add name=probe-2 src="disk1/a b" dst=/b }
# reported: a docker archive with one plain layer loads in every version
# confirmed: up to 7.15 entry point and command are one word each; later ones take that too
# confirmed: logging takes the topic as well
:if ([:len [/system/logging/find where topics=container]] = 0) do={ /system/logging/add topics=container action=memory }
:if ([:len [/container/find where interface=probe]] = 0) do={ /container/add file=probe.tar interface=probe root-dir=disk1/probe name=probe envlists=probe mounts=probe-1,probe-2 entrypoint=/bin/probe cmd=uname logging=yes start-on-boot=yes }
# when /container/print shows it as stopped, its files are unpacked:
# /container/start [find where interface=probe]
