use lictor_dns::*;use lictor_state::*;use lictor_wire::*;use std::sync::Arc;
struct Fixed(Arc<View>);
#[async_trait::async_trait] impl Source for Fixed { fn view(&self)->Option<Arc<View>>{Some(self.0.clone())} async fn consistent_view(&self)->Result<Option<Arc<View>>,SourceError>{Ok(self.view())}}
fn main(){
 let mut st=State::default(); for i in 0..3{ let r=RegisterRequest{node:format!("web-{i}").into(),address:format!("10.0.0.{i}").into(),datacenter:"dc1".into(),service:Some(Box::new(NodeService{id:"web".into(),service:"web".into(),port:80,..Default::default()})),..Default::default()};
 st.apply(i+1,&Entry{at:0,command:Command::Register(Box::new(r))},&mut Changes::default());}
 let r=Responder::new(Settings::default(),Arc::new(Fixed(Arc::new(st.view())))).unwrap();
 let rt=tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
 for kind in [1u8,33]{ let mut p=b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03web\x07service\x06consul\0\0".to_vec(); p.extend([kind,0,1]);
 let from="127.0.0.1:5".parse().unwrap();
 for _ in 0..3 {let t=std::time::Instant::now(); rt.block_on(async{for _ in 0..300000{ std::hint::black_box(r.respond(&p,from,Transport::Udp).await);}}); println!("{kind}: {:?} ns",t.elapsed().as_nanos()/300000);} }
}
