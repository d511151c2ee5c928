# A session of ssh with this machine itself.
mkdir -p /root/.ssh /etc/dropbear
chmod 700 /root/.ssh
dropbearkey -t ed25519 -f /root/host
dropbearkey -t ecdsa -f /root/key | grep ^ecdsa >/root/.ssh/authorized_keys
dropbear -r /root/host -p 127.0.0.1:2222 -P /tmp/pid
dbclient -y -i /root/key -p 2222 root@127.0.0.1 'echo through ssh'
kill "$(cat /tmp/pid)"
